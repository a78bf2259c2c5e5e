"""What every peer shares: the key, how a step is timed and what it prints.

    PEER.py load|restate|again STATE_DIR FILE

prints one JSON line: `seconds` (the step, without starting Python and importing libraries: this favours the peers, since
Tidegate is timed as a whole process), and `new`, `updated`, `removed`, `unchanged`, null where the tool does not know.
"""

import json
import os
import sys
import time
from pathlib import Path

KEY = ["date", "county", "state"]
VALUES = ["fips", "cases", "deaths"]


def run(work):
    """Times `work(step, state, file)`, which returns the counts."""
    step, state, file = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    state.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    counts = work(step, state, file)
    print(json.dumps({"seconds": time.perf_counter() - started, **counts}))


def counts(new=None, updated=None, removed=None, unchanged=None):
    return {"new": new, "updated": updated, "removed": removed, "unchanged": unchanged}


def replace(path, write):
    """Writes a file so that a crash leaves the old or the new one: beside it, to disk, then renamed."""
    beside = path.with_suffix(".new")
    write(beside)
    with open(beside, "rb+") as file:
        os.fsync(file.fileno())
    beside.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)

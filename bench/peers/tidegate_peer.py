"""Tidegate, driven as its users do: a pipeline folder and `tidegate run`. The binary is in TIDEGATE_BINARY."""

import json
import os
import subprocess
import time

import step

PIPELINE = """\
version: 1
name: bench
sources:
  published:
    SOURCE
    format: csv
    columns:
      date:   { type: date, required: true }
      county: { type: string, required: true }
      state:  { type: string, required: true }
      fips:   { type: string }
      cases:  { type: int64 }
      deaths: { type: int64 }
table:
  name: counties
  key: [date, county, state]
  guards: off
"""


def write_pipeline(folder, source):
    """Writes the pipeline folder; `source` says where the publication is."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pipeline.yaml").write_text(PIPELINE.replace("SOURCE", source))


def publish(folder, file):
    """Puts the publication in place, as its publisher would before anything runs."""
    write_pipeline(folder, "file: { path: in.csv }")
    link = folder / "in.csv"
    link.unlink(missing_ok=True)
    link.symlink_to(file.resolve())
    # A new time, else Tidegate would not even open a file it has read: the peers have to read it as well.
    now = time.time() - 10
    os.utime(file, (now, now))


def work(name, state, file):
    publish(state / "pipeline", file)
    command = [os.environ["TIDEGATE_BINARY"], "run", state / "pipeline", "--home", state / "home", "-o", "json", "-q"]
    started = time.perf_counter()
    run = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    seconds = time.perf_counter() - started
    counts = json.loads(run.stdout)["counts"]
    # These `seconds` replace those taken outside, which have the publisher's work in them.
    return {"seconds": seconds} | {name: counts[name] for name in step.counts()}


if __name__ == "__main__":
    step.run(work)

#!/usr/bin/env python3
"""Runs every peer on the same data, step by step and round by round, and reports. Started by `run`."""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import child
import report

HERE = Path(__file__).parent
# name: (script, environment)
PEERS = {
    "tidegate": ("tidegate_peer.py", {}),
    "duckdb": ("duckdb_peer.py", {}),
    "polars": ("polars_peer.py", {}),
    "pandas": ("pandas_peer.py", {}),
    "dlt": ("dlt_peer.py", {}),
    "dlt-cdc": ("dlt_peer.py", {"DLT_STRATEGY": "cdc"}),
}
STEPS = {"load": "first.csv", "restate": "restated.csv", "again": "restated.csv"}
SECONDS = 900  # one step; ten million rows take seconds, so who needs longer has lost


@dataclass
class Measurement:
    """One step of one peer in one round."""

    round: int
    seconds: float
    peak: int
    counts: dict
    note: str


def say(text):
    print(text, file=sys.stderr, flush=True)


def script(name, env, *arguments, limit=SECONDS):
    return child.run([sys.executable, HERE / name, *arguments], os.environ | env, limit)


def answer(ended, what):
    """What a script printed; if it failed, that it did, and its words to stderr only: they are full of this machine's paths."""
    if ended.code == 0:
        return json.loads(ended.out.splitlines()[-1])
    why = ended.stopped or f"exit code {ended.code}"
    say(f"{what} failed: {why}\n{ended.error[-2000:]}")
    return {"error": why}


def measure(data, work, peers, rounds, env):
    """Round-robin, so that whatever else the machine does hits all alike. A peer that fails is not tried again."""
    found, failed, tables = defaultdict(list), {}, {}
    for number in range(rounds):
        # Another one begins each round: being first or last after a big neighbour must not count.
        turn = number % len(peers)
        order = peers[turn:] + peers[:turn]
        for step, file in STEPS.items():
            for peer in order:
                if peer in failed:
                    continue
                name, own = PEERS[peer]
                # What the last one left to the system is brought to disk first: nobody waits for another's bytes.
                os.sync()
                ended = script(f"peers/{name}", env | own, step, work / peer, data / file)
                said = answer(ended, f"{peer} {step}")
                if "error" in said:
                    failed[peer] = (step, said["error"], ended.peak)
                    shutil.rmtree(work / peer, ignore_errors=True)
                    continue
                seconds, note = said.pop("seconds"), said.pop("note", "")
                found[peer, step].append(Measurement(number, seconds, ended.peak, said, note))
                say(f"round {number + 1}: {peer} {step} {seconds:.2f} s")
        for peer in [peer for peer in peers if peer not in failed]:
            if peer not in tables:
                tables[peer] = answer(script("check.py", {}, peer, work / peer, data / "restated.csv"), f"checking {peer}")
            shutil.rmtree(work / peer)
    return found, failed, tables


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", default="all", help=", ".join(PEERS))
    parser.add_argument("--binary", type=Path, required=True)
    args = parser.parse_args()
    peers = list(PEERS) if args.peers == "all" else args.peers.split(",")
    if unknown := [peer for peer in peers if peer not in PEERS]:
        parser.error(f"no such peer: {', '.join(unknown)}; there are {', '.join(PEERS)}")
    if "tidegate" in peers and not args.binary.is_file():
        parser.error(f"there is no binary {args.binary}")

    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder:
        data, work = Path(folder) / "data", Path(folder) / "work"
        say(f"generating {args.rows:,} rows")
        generated = script("generate.py", {}, data, "--rows", str(args.rows))
        if generated.code:
            sys.exit(generated.error)
        expected = json.loads((data / "expected.json").read_text())
        binary = args.binary.resolve()
        found, failed, tables = measure(data, work, peers, args.rounds, {"TIDEGATE_BINARY": str(binary)})
        unchanged = None
        if "tidegate" in peers:
            unchanged = answer(script("unchanged.py", {}, binary, data / "restated.csv"), "the unchanged rerun")
    results = report.Results(args.rows, args.rounds, peers, expected, found, failed, tables, unchanged)
    section = results.markdown()
    print(section)
    report.write(HERE / "results.md", args.rows, section)
    sys.exit(0 if results.exact() else 1)


if __name__ == "__main__":
    main()

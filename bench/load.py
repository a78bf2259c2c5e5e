#!/usr/bin/env python3
"""Puts a service under load and leaves it idle; writes load.md. Started by `load`."""

import argparse
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from load_parts import events, idle, page, proc, push

HERE = Path(__file__).parent


def say(text):
    print(text, file=sys.stderr, flush=True)


def measure_push(args, work, disk):
    """As fast as it goes; at a fixed rate; and as fast as it goes for long enough that what grows is seen."""
    rounds = [("closed", args.seconds, None), ("open", args.seconds, args.rate), ("limit", args.minutes_at_limit * 60, None)]
    results = []
    for name, seconds, rate in rounds:
        if seconds:
            say(f"push, {name}: {seconds:.0f} s")
            results.append(push.measure(args.binary, work, say, name, seconds, rate, args.connections))
    return results, page.push(results, disk)


def measure_idle(args, work, _disk):
    say(f"idle: {args.pipelines:,} pipelines")
    results = idle.measure(args.binary, work, say, args.pipelines, args.every, args.seconds)
    return results, page.idle(results, args.pipelines)


def measure_events(args, work, _disk):
    say("events")
    results = events.measure(args.binary, work, say, args.subscribers, args.seconds)
    return results, page.events(results)


SCENARIOS = {"push": measure_push, "idle": measure_idle, "events": measure_events}


def spans(text):
    found = text.split(",")
    if not all(re.fullmatch(r"[1-9]\d*(ms|s|m|h)", one) for one in found):
        raise argparse.ArgumentTypeError("spans such as 10m,90s")
    return found


def counts(text):
    found = [int(one) for one in text.split(",")]
    # 256 streams may be open at a time, and this is not about that limit.
    if not all(1 <= one <= 250 for one in found):
        raise argparse.ArgumentTypeError("numbers from 1 to 250")
    return found


def arguments():
    parser = argparse.ArgumentParser(prog="bench/load", description=__doc__)
    parser.add_argument("--binary", type=Path, required=True)
    parser.add_argument("--only", default=",".join(SCENARIOS), help="some of push, idle, events")
    parser.add_argument("--seconds", type=float, default=60, help="of pushing; of an idle period at most ten times as many are measured")
    parser.add_argument("--minutes-at-limit", type=float, default=10, help="0: leave that out")
    parser.add_argument("--rate", type=float, default=page.RATE, help="rows per second that are offered at the fixed rate")
    parser.add_argument("--connections", type=int, default=8, help="that push")
    parser.add_argument("--pipelines", type=int, default=page.PIPELINES, help="that are idle")
    parser.add_argument("--every", type=spans, default="10m,1m", help="how often they are polled, one round each")
    parser.add_argument("--subscribers", type=counts, default="1,10,100")
    parser.add_argument("--out", type=Path, default=HERE / "load.md")
    args = parser.parse_args()
    args.only = args.only.split(",")
    if unknown := [one for one in args.only if one not in SCENARIOS]:
        parser.error(f"no such scenario: {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    if not args.binary.is_file():
        parser.error(f"there is no binary {args.binary}")
    if min(args.seconds, args.rate, args.connections, args.pipelines) <= 0 or args.minutes_at_limit < 0:
        parser.error("numbers must be above 0")
    args.binary = args.binary.resolve()
    return args


def main():
    args = arguments()
    # So that what was started is ended also when this is told to stop.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    version = subprocess.run([args.binary, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    correct = True
    for name, measure_one in SCENARIOS.items():
        if name not in args.only:
            continue
        with tempfile.TemporaryDirectory(prefix="tidegate-load-") as work:
            disk = proc.file_system(work)
            results, lines = measure_one(args, work, disk)
        text = page.section(name.capitalize(), version, disk, lines)
        print(text, end="\n\n", flush=True)
        page.write(args.out, name.capitalize(), text)
        correct = correct and not any(one.problems for one in results)
    sys.exit(0 if correct else 1)


if __name__ == "__main__":
    main()

"""Pushed rows: how many are taken, how long it takes until they are in the table, and what it costs."""

import contextlib
import json
import shutil
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import proc
from .child import Child
from .numbers import per_span
from .pusher import POOL
from .service import FAILURES, Service, Trouble, why
from .watch import Watch, waits

ROWS = 1000  # rows of one body
LEAST_DISK = 5 * 10**9
STUCK = 120  # seconds without a new row in the table, after which what is missing is given up
DRAIN = 1800  # seconds at most until everything accepted is in the table
PIPELINE = """\
version: 1
name: load
sources:
  readings:
    push: {}
    format: csv
    columns:
      id:    { type: int64, required: true }
      at:    { type: timestamp, required: true }
      value: { type: float64, required: true }
table: { name: readings, mode: append }
limits: { keep_raw: 1m }
"""


@dataclass
class Pushed:
    """What one round of pushing came to."""

    name: str
    seconds: float
    offered: float | None  # rows per second; none: as fast as they are taken
    problems: list = field(default_factory=list)  # why it is not what it should be; then no number of it counts
    stopped: str | None = None  # why it ended before its time
    accepted: int = 0  # rows answered with 202
    rate: float = 0  # of these, per second while pushing
    visible_rate: float = 0  # rows that came into the table per second while pushing
    drain: float = 0  # seconds from the end of pushing until all were visible
    seconds_of_it: list = field(default_factory=list)  # rows accepted in each second
    answers: list = field(default_factory=list)
    waits: list = field(default_factory=list)
    refused: list = field(default_factory=list)  # by minute
    minutes: list = field(default_factory=list)  # rows accepted per second, by minute
    memory_minutes: list = field(default_factory=list)  # median resident bytes, by minute
    peak: int = 0
    cores: float = 0
    client_cores: float = 0
    runs: int = 0
    disk: int = 0
    body: float = 0
    other: dict = field(default_factory=dict)
    counted: list = field(default_factory=list)  # how often each body was accepted


def measure(binary, work, say, name, seconds, rate, connections):
    """Pushes in a home folder of its own, which is gone afterwards."""
    folder = Path(work) / "push"
    pipeline = folder / "pipelines" / "load"
    pipeline.mkdir(parents=True)
    (pipeline / "pipeline.yaml").write_text(PIPELINE)
    result = Pushed(name, seconds, rate)
    service = Service(binary, folder)
    try:
        with service:
            push(service, result, say, connections)
        check_table(service, result)
    except FAILURES as trouble:
        result.problems.append(why(trouble))
        say(f"{trouble!r}\n{service.words()}")
    finally:
        shutil.rmtree(folder)
    return result


def push(service, result, say, connections):
    out = service.folder / "pushed.json"
    settings = {"address": service.address, "path": "/v1/ingest/load/readings", "rows": ROWS, "seconds": result.seconds}
    settings |= {"rate": result.offered, "connections": connections, "out": str(out)}
    with Watch(service.folder / "home" / "tables" / "readings") as watch, proc.Sampler(service.pid) as sampler:
        before = time.process_time()
        with Child("pusher", **settings) as pusher:
            guard(service, pusher, watch, result, say)
        ours = time.process_time() - before
        found = json.loads(out.read_text())
        wait_for_all(service, watch, len(found["accepted"]) * ROWS, say)
        result.disk = proc.disk_use(service.folder / "home")
        evaluate(result, found, watch, sampler, ours)
        check_service(service, result, watch)


def guard(service, pusher, watch, result, say):
    """Waits for the pusher; lets it end early when the disk is nearly full, so that what was measured until then still counts."""
    started = said = time.monotonic()
    while pusher.process.poll() is None:
        time.sleep(0.25)
        service.alive()
        now = time.monotonic()
        if not result.stopped and proc.free_disk(service.folder) < LEAST_DISK:
            result.stopped = f"pushing ended early: less than {LEAST_DISK / 10**9:,.0f} GB of disk were free"
            say(f"  {result.stopped}")
            with contextlib.suppress(BrokenPipeError):  # it has ended in this moment
                pusher.tell("stop")
        if now - started > result.seconds + 300:
            raise Trouble("the pusher did not end")
        if now - said >= 10:
            said = now
            say(f"  {now - started:.0f} s: {watch.rows:,} rows in the table, {proc.resident(service.pid) / 2**20:,.0f} MiB")
    if pusher.process.returncode:
        raise Trouble("the pusher failed")


def wait_for_all(service, watch, rows, say):
    """Waits until the table has as many rows; whether it has exactly as many is looked at afterwards."""
    until = time.monotonic() + DRAIN
    last, since = watch.rows, time.monotonic()
    while watch.rows < rows and time.monotonic() < min(until, since + STUCK) and not watch.error:
        time.sleep(0.05)
        service.alive()
        if watch.rows != last:
            last, since = watch.rows, time.monotonic()
    say(f"  {rows:,} rows accepted, {watch.rows:,} in the table")
    # Rows that should not come would come with the next run.
    time.sleep(2)


def evaluate(result, found, watch, sampler, ours):
    result.seconds = found["seconds"]
    start, end = found["started"], found["started"] + result.seconds
    times = [when for when, _, _ in found["accepted"]]
    result.accepted = len(times) * ROWS
    result.rate = sum(when <= end for when in times) * ROWS / result.seconds
    result.visible_rate = watch.at(end) / result.seconds
    result.seconds_of_it = [count * ROWS for count in per_span(times, start, end, 1)]
    result.drain = max(0.0, next((seen for seen, rows in watch.commits if rows >= result.accepted), end) - end)
    result.answers = [seconds for _, seconds, _ in found["accepted"]]
    result.waits = waits(times, ROWS, watch.commits)
    result.refused = per_span(found["refused"], start, start + 60 * max(1, -(-result.seconds // 60)), 60)
    result.minutes = [count * ROWS / 60 for count in per_span(times, start, end, 60)]
    result.memory_minutes = [
        statistics.median(sampler.memory(start + 60 * minute, start + 60 * minute + 60)) for minute in range(len(result.minutes))
    ]
    result.peak = max((sample[2] for sample in sampler.samples), default=0)
    result.cores = sampler.cores(start, end)
    result.client_cores = (found["cpu"] + ours) / (found["ended"] - start)
    result.body = found["bytes"]
    result.other = dict(found["other"]) | ({"duplicate": found["repeated"]} if found["repeated"] else {})
    result.counted = [0] * POOL
    for _, _, number in found["accepted"]:
        result.counted[number] += 1
    if found["unknown"]:
        result.problems.append(f"{found['unknown']} pushes were never answered, so it is not known what should be in the table")
    if any(status.isdigit() for status in found["other"]):
        result.problems.append(f"pushes were answered with neither 202 nor 429: {result.other}")
    if not result.accepted:
        result.problems.append("no push was accepted")


def check_service(service, result, watch):
    """What the service itself says of what it took."""
    if watch.error:
        result.problems.append(watch.error)
    if watch.rows != result.accepted:
        result.problems.append(f"{result.accepted:,} rows were accepted, the table has {watch.rows:,}")
    receipts = service.receipts()
    result.runs = len(receipts)
    if ends := sorted({receipt["outcome"] for receipt in receipts} - {"published"}):
        result.problems.append(f"not all runs were published: {', '.join(ends)}")
    new = sum((receipt["counts"] or {}).get("new", 0) for receipt in receipts)
    if new != result.accepted:
        result.problems.append(f"{result.accepted:,} rows were accepted, the receipts have {new:,} new ones")
    if waiting := [one["standing"]["quarantine_open"] for one in service.json("/v1/pipelines") if one["standing"]["quarantine_open"]]:
        result.problems.append(f"{sum(waiting):,} rows are in quarantine")


def check_table(service, result):
    """Reads the table itself: each row of each body must be there exactly as often as the body was accepted."""
    if service.process.returncode:
        result.problems.append("the service did not end well when it was told to")
    sql = f"SELECT id / {ROWS} AS body, count(*) AS ids, min(n) AS least, max(n) AS most FROM (SELECT id, count(*) AS n FROM readings GROUP BY id) GROUP BY 1"
    there = {row["body"]: (row["ids"], row["least"], row["most"]) for row in service.ask("query", sql)}
    wanted = {body: (ROWS, times, times) for body, times in enumerate(result.counted) if times}
    if there != wanted:
        wrong = sum(there.get(body) != wanted.get(body) for body in there.keys() | wanted.keys())
        result.problems.append(f"{wrong} of {len(wanted)} different bodies are not in the table as often as they were accepted")


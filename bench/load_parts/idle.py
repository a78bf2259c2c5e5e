"""Many pipelines that have nothing to do but ask their publishers: what that costs."""

import json
import math
import re
import shutil
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import proc
from .child import Child
from .service import FAILURES, Service, Trouble, why
from .wire import Connection

SETTLE = 5  # seconds at least between the last run and the measurement
FIRST_LOAD = 3600  # seconds at most until every pipeline has published
STUCK = 120  # seconds without a further publication, after which it is given up
UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
PIPELINE = """\
version: 1
name: NAME
sources:
  published:
    http: { url: "URL" }
    format: csv
    columns:
      id:    { type: int64, required: true }
      name:  { type: string, required: true }
      value: { type: int64 }
table: { name: NAME, key: [id] }
triggers:
  source_change: { every: EVERY }
"""


@dataclass
class Idle:
    """What one round of doing nothing came to."""

    every: str
    restarted: bool  # else it is the process that loaded everything first
    problems: list = field(default_factory=list)
    seconds: float = 0
    period: float = 0
    polls: int = 0
    expected: float = 0  # polls in that time
    cpu: float = 0  # seconds
    memory: float = 0  # median, bytes
    peak: int = 0  # in that time
    client_cpu: float = 0
    first_load: float | None = None  # seconds until all had published
    first_peak: int = 0

    @property
    def share(self):
        return self.cpu / self.seconds if self.seconds else None


def span(text):
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h)", text).groups()
    return int(number) * UNITS[unit]


def measure(binary, work, say, pipelines, everies, seconds):
    """One round for each of `everies`: the first in the service that loaded everything, the others after a restart."""
    folder = Path(work) / "idle"
    folder.mkdir()
    results, service = [], Service(binary, folder)
    try:
        with Child("publisher") as publisher:
            port = publisher.line()["port"]
            for number, every in enumerate(everies):
                result = Idle(every, number > 0, period=span(every))
                results.append(result)
                write(folder / "pipelines", pipelines, port, every)
                try:
                    with service:
                        ready(service, port, result, pipelines, say)
                        rest(service, publisher, port, result, pipelines, seconds, say)
                except FAILURES as trouble:
                    result.problems.append(why(trouble))
                    say(f"{trouble!r}\n{service.words()}")
                    break
    finally:
        shutil.rmtree(folder)
    return results


def write(folder, pipelines, port, every):
    for number in range(pipelines):
        name = f"p{number:04}"
        (folder / name).mkdir(parents=True, exist_ok=True)
        text = PIPELINE.replace("NAME", name).replace("URL", f"http://127.0.0.1:{port}/{name}.csv").replace("EVERY", every)
        (folder / name / "pipeline.yaml").write_text(text)


def counts(port):
    connection = Connection(("127.0.0.1", port))
    try:
        return json.loads(connection.ask("GET", "/counts").body)
    finally:
        connection.close()


def ready(service, port, result, pipelines, say):
    """Until there is nothing left to do: everything published once, or after a restart everything looked at once."""
    started = moved = said = time.monotonic()
    before, done = counts(port), 0
    with proc.Sampler(service.pid) as sampler:
        while done < pipelines:
            now = time.monotonic()
            if now - started > FIRST_LOAD or now - moved > STUCK + result.period:
                raise Trouble(f"only {done:,} of {pipelines:,} pipelines were ready after {now - started:.0f} s")
            time.sleep(0.5)
            service.alive()
            last, done = done, counts(port)["304"] - before["304"] if result.restarted else published(service)
            if done != last:
                moved = time.monotonic()
            if now - said >= 10:
                said = now
                say(f"  {now - started:.0f} s: {done:,} of {pipelines:,} pipelines ready")
        while service.json("/v1/queue"):
            if time.monotonic() - started > FIRST_LOAD:
                raise Trouble("the queue did not become empty")
            time.sleep(0.5)
    if not result.restarted:
        result.first_load = time.monotonic() - started
        result.first_peak = max(sample[2] for sample in sampler.samples)


def published(service):
    with open(service.out(), "rb") as file:
        return file.read().count(b'"outcome":"published"')


def windows(period, seconds):
    """How long to wait and how long to measure. The looks of a period come close together, since all began together: so one whole
    period is measured, from the middle between two looks on. With a short `seconds` it is less, and then polls may be missed."""
    middle = period * (0.5 + max(0, math.ceil(SETTLE / period - 0.5)))
    return max(SETTLE, min(middle, 5 * seconds)), max(seconds, min(period, 10 * seconds))


def sleep(service, seconds):
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(5, left))
        service.alive()


def rest(service, publisher, port, result, pipelines, seconds, say):
    wait, result.seconds = windows(result.period, seconds)
    say(f"  {pipelines:,} pipelines every {result.every}: resting for {wait:.0f} s, measuring for {result.seconds:.0f} s")
    sleep(service, wait)
    runs = len(service.receipts())
    asked, client, start, used = counts(port), proc.cpu(publisher.process.pid), time.monotonic(), proc.cpu(service.pid)
    with proc.Sampler(service.pid) as sampler:
        sleep(service, result.seconds)
        result.cpu, result.seconds = proc.cpu(service.pid) - used, time.monotonic() - start
    after = counts(port)
    result.client_cpu = proc.cpu(publisher.process.pid) - client
    result.polls = after["304"] - asked["304"]
    result.expected = pipelines * result.seconds / result.period
    memory = [sample[2] for sample in sampler.samples]
    result.memory, result.peak = statistics.median(memory), max(memory)
    check(service, result, runs, after["200"] - asked["200"])


def check(service, result, runs, downloads):
    """It must have been idle, and it must have asked: else the numbers are those of something else."""
    service.alive()
    if ran := len(service.receipts()) - runs:
        result.problems.append(f"{ran} runs were made while there was nothing new")
    if downloads:
        result.problems.append(f"{downloads} requests did not say what they have already")
    if in_trouble := sum(one["standing"]["in_trouble"] for one in service.json("/v1/pipelines")):
        result.problems.append(f"{in_trouble} pipelines are in trouble")
    # Each wait is up to a tenth longer or shorter, so a few may fall outside; the page says so if it is more than that.
    if result.seconds >= result.period and result.polls < result.expected / 2:
        result.problems.append(f"only {result.polls:,} polls were seen where {result.expected:,.0f} were due")

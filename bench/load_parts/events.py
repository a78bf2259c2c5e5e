"""Live streams of events: how many a second reach their subscribers, how late, and whether each got each once and in order."""

import re
import shutil
import threading
import time
from array import array
from dataclasses import dataclass, field
from pathlib import Path

from . import proc
from .child import Child
from .numbers import percentile
from .service import FAILURES, Service, Trouble, why
from .wire import Connection

PRODUCERS = 4  # connections that make events, each at a pipeline of its own: so each knows the order of its events
PRODUCE = 10  # seconds
MOST = 50_000  # events of one producer in one round
PIPELINE = """\
version: 1
name: NAME
sources:
  rows:
    push: {}
    format: csv
    columns:
      id: { type: int64, required: true }
table: { name: NAME, mode: append }
"""


@dataclass
class Streamed:
    """What one round with so many subscribers came to."""

    kind: str  # live or backlog
    subscribers: int
    problems: list = field(default_factory=list)
    produced: int = 0
    produced_rate: float = 0
    delivered: int = 0
    delivered_rate: float = 0
    p50: float | None = None
    p99: float | None = None
    cpu: float = 0  # processor seconds of the service
    client_cpu: float = 0  # and of who makes and reads the events
    peak: int = 0


def measure(binary, work, say, subscribers, seconds):
    """First live with each number of subscribers, then the whole backlog that this has left."""
    folder = Path(work) / "events"
    for number in range(PRODUCERS):
        pipeline = folder / "pipelines" / name(number)
        pipeline.mkdir(parents=True)
        (pipeline / "pipeline.yaml").write_text(PIPELINE.replace("NAME", name(number)))
    results, service = [], Service(binary, folder)
    try:
        with service:
            for kind, one_round in (("live", live), ("backlog", backlog)):
                for count in subscribers:
                    result = Streamed(kind, count)
                    results.append(result)
                    one_round(service, result, min(seconds, PRODUCE))
                    say(f"  {kind}, {count} subscribers: {result.delivered_rate:,.0f} events a second delivered")
    except FAILURES as trouble:
        results[-1].problems.append(why(trouble))
        say(f"{trouble!r}\n{service.words()}")
    finally:
        shutil.rmtree(folder)
    return results


def name(number):
    return f"p{number}"


def newest(service):
    found = re.search(rb"^tidegate_events_newest (\d+)", service.get("/metrics"), re.M)
    return int(found[1]) if found else 0


def produce(address, number, until, answered):
    """Pauses and resumes in turn: each makes one event, and nothing else."""
    connection = Connection(address)
    for turn in range(MOST):
        if time.monotonic() >= until:
            break
        answer = connection.ask("POST", f"/v1/pipelines/{name(number)}/{'resume' if turn % 2 else 'pause'}")
        if answer.status != 200:
            raise Trouble(f"a pause or resume was answered with {answer.status}")
        answered.append(time.monotonic())
    if len(answered) % 2:
        # The next round begins with a pause, which must not find it paused.
        connection.ask("POST", f"/v1/pipelines/{name(number)}/resume")
        answered.append(time.monotonic())
    connection.close()


def producing(address, seconds):
    """All producers at once: the times of their answers, by producer."""
    answered, failed = [[] for _ in range(PRODUCERS)], []
    until = time.monotonic() + seconds

    def work(number):
        try:
            produce(address, number, until, answered[number])
        except (Trouble, OSError) as trouble:
            failed.append(trouble)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(PRODUCERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return answered


def live(service, result, seconds):
    before, out = newest(service), service.folder / "received"
    with Child("subscribers", address=service.address, after="newest", count=result.subscribers, until=None, out=str(out)) as crowd:
        if (opened := crowd.line()["open"]) != result.subscribers:
            raise Trouble(f"only {opened} of {result.subscribers} streams were opened")
        ours = time.process_time()
        with proc.Sampler(service.pid) as sampler:
            started, used = time.monotonic(), proc.cpu(service.pid)
            answered = producing(service.address, seconds)
            stopped = time.monotonic()
            ours = time.process_time() - ours
            crowd.tell(newest(service))
            said = crowd.line()
            result.cpu, result.client_cpu = proc.cpu(service.pid) - used, ours + said["cpu"]
    received = read(out, result.subscribers)
    # Another way to the same ledger than the one that is measured.
    truth = service.ask("events", "--after", str(before))
    result.produced = sum(map(len, answered))
    result.produced_rate = result.produced / (stopped - started)
    settle(result, said, received, [event["sequence"] for event in truth], started, sampler)
    late(result, truth, answered, received)


def backlog(service, result, _seconds):
    last, out = newest(service), service.folder / "received"
    used = proc.cpu(service.pid)
    with proc.Sampler(service.pid) as sampler:
        with Child("subscribers", address=service.address, after=0, count=result.subscribers, until=last, out=str(out)) as crowd:
            crowd.line()
            said = crowd.line()
    result.cpu, result.client_cpu = proc.cpu(service.pid) - used, said["cpu"]
    truth = service.ask("events")
    settle(result, said, read(out, result.subscribers), [event["sequence"] for event in truth], said["started"], sampler)


def read(file, subscribers):
    """What each subscriber received: (numbers, times)."""
    found = []
    with open(file, "rb") as content:
        for _ in range(subscribers):
            size, numbers, times = array("q"), array("q"), array("d")
            size.fromfile(content, 1)
            numbers.fromfile(content, size[0])
            times.fromfile(content, size[0])
            found.append((numbers, times))
    return found


def settle(result, said, received, wanted, started, sampler):
    """Rates, and whether every subscriber received exactly the events of the ledger in their order."""
    ended = max((times[-1] for _, times in received if times), default=said["ended"])
    result.delivered = sum(len(numbers) for numbers, _ in received)
    result.delivered_rate = result.delivered / (ended - started)
    result.peak = max((sample[2] for sample in sampler.samples), default=0)
    wrong = sum(list(numbers) != wanted for numbers, _ in received)
    if wrong:
        result.problems.append(f"{wrong} of {result.subscribers} subscribers did not get each event once and in order")
    if said["failures"]:
        result.problems.append(f"streams failed: {', '.join(said['failures'])}")
    if not said["done"]:
        result.problems.append("not every subscriber got the last event in time")
    if not wanted:
        result.problems.append("there were no events")


def late(result, truth, answered, received):
    """Seconds from the answer that an event was made to its receipt. The k-th event of a pipeline belongs to the k-th answer of its
    producer. An event that arrives before the answer is not late at all."""
    turns = {name(number): iter(whens) for number, whens in enumerate(answered)}
    times = {}
    for event in truth:
        if event["type"] in ("tidegate.pipeline.paused", "tidegate.pipeline.resumed"):
            times[event["sequence"]] = next(turns[event["source"].rpartition("/")[2]], None)
    if len(times) != result.produced or None in times.values():
        result.problems.append(f"{result.produced:,} events were asked for, the ledger has {len(times):,}")
        return
    delays = [max(0.0, when - times[number]) for numbers, seen in received for number, when in zip(numbers, seen) if number in times]
    result.p50, result.p99 = percentile(delays, 0.5), percentile(delays, 0.99)

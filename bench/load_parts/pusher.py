"""Pushes bodies of rows, as fast as they are taken or at a fixed rate, and notes every answer. A process of its own, so that its
processor time is known and its threads hinder nobody's clock. Started by push.py."""

import itertools
import json
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from . import child
from .wire import Connection

POOL = 64  # different bodies; a push takes one of them, so that making them costs nothing while it is measured
AFTERWARDS = 60  # seconds in which what is on its way may come to its end
HEAD = b"id,at,value\n"


def body(number, rows):
    """Rows whose id tells their body: id // rows. So the table itself says how often each body came into it."""
    chance = random.Random(number)
    lines = (
        f"{number * rows + row},2026-01-{1 + row % 28:02}T{row % 24:02}:{row % 60:02}:00.{chance.randrange(1_000_000):06}Z,{chance.random() * 100:.9f}\n"
        for row in range(rows)
    )
    return HEAD + "".join(lines).encode()


@dataclass
class Pusher:
    address: tuple
    path: str
    bodies: list
    seconds: float
    started: float
    accepted: list = field(default_factory=list)  # (when it was answered, seconds it took, number of the body)
    refused: list = field(default_factory=list)  # times of 429
    other: Counter = field(default_factory=Counter)  # other answers, and connections that broke
    repeated: int = 0  # pushes that were answered as a duplicate of what the same pusher had sent before
    unknown: int = 0  # pushes for which it stayed open whether they were taken

    def stop(self):
        """Ends before its time."""
        self.seconds = min(self.seconds, time.monotonic() - self.started)

    def closed(self, thread, connections):
        """One push after the other; begins none when the time is over."""
        connection = Connection(self.address)
        for turn in itertools.count():
            now = time.monotonic()
            if now >= self.started + self.seconds:
                return connection.close()
            number = (thread + turn * connections) % len(self.bodies)
            self.push(connection, f"{thread}-{turn}", number, now, self.started + self.seconds)

    def opened(self, ticks, interval, total):
        """Takes the next push that is due. It counts from when it was due, so that waiting for a free connection counts too."""
        connection = Connection(self.address)
        for tick in ticks:
            if tick >= total or tick * interval >= self.seconds:
                return connection.close()
            due = self.started + tick * interval
            time.sleep(max(0, due - time.monotonic()))
            self.push(connection, str(tick), tick % len(self.bodies), due, self.started + self.seconds + AFTERWARDS)

    def push(self, connection, key, number, since, until):
        """Pushes until it is accepted. After `until` it gives up, but never while it is open whether the rows were taken."""
        headers = f"Idempotency-Key: {key}\r\n"
        open_question = False
        while True:
            now = time.monotonic()
            if now >= self.started + self.seconds + AFTERWARDS or (now >= until and not open_question):
                self.unknown += open_question
                return
            try:
                answer = connection.ask("POST", self.path, self.bodies[number], headers)
            except OSError as error:
                self.other[type(error).__name__] += 1
                open_question = True
                time.sleep(0.1)
                continue
            done = time.monotonic()
            if answer.status == 202:
                said = json.loads(answer.body)
                # The key is ours alone: a duplicate is our own earlier try whose answer was lost.
                self.repeated += said["duplicate"]
                self.accepted.append((done, done - since, number))
                return
            if answer.status == 429:
                self.refused.append(done)
            else:
                self.other[str(answer.status)] += 1
                open_question = open_question or answer.status >= 500
            time.sleep(answer.retry_after)

    def run(self, connections, per_second):
        """`per_second` bodies are due each second; none: as fast as it goes."""
        if per_second:
            ticks, total = itertools.count(), round(per_second * self.seconds)
            work = [threading.Thread(target=self.opened, args=(ticks, 1 / per_second, total)) for _ in range(connections)]
        else:
            work = [threading.Thread(target=self.closed, args=(thread, connections)) for thread in range(connections)]
        for thread in work:
            thread.start()
        for thread in work:
            thread.join()


def main():
    settings = child.settings()
    bodies = [body(number, settings["rows"]) for number in range(POOL)]
    rate = settings["rate"]
    before = time.process_time()
    pusher = Pusher(tuple(settings["address"]), settings["path"], bodies, settings["seconds"], time.monotonic() + 0.2)
    child.end_with_starter(pusher.stop)
    pusher.run(settings["connections"], rate / settings["rows"] if rate else None)
    found = {
        "started": pusher.started,
        "seconds": pusher.seconds,
        "cpu": time.process_time() - before,
        "ended": time.monotonic(),
        "bytes": sum(map(len, bodies)) / POOL,
        "accepted": sorted(pusher.accepted),
        "refused": pusher.refused,
        "other": pusher.other,
        "repeated": pusher.repeated,
        "unknown": pusher.unknown,
    }
    with open(settings["out"], "w") as file:
        json.dump(found, file)


if __name__ == "__main__":
    main()

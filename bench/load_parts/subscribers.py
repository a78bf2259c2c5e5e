"""Reads the live streams of many subscribers and notes what came when. A process of its own, so that its processor time is known.
Started by events.py."""

import os
import re
import selectors
import socket
import time
from array import array

from . import child

LIMIT = 180  # seconds until it gives up
# Only the numbers are taken out: whoever reads a hundred streams on two cores must not do more.
NUMBER = re.compile(rb"\nid: ?(\d+)\r?\n")
KEEP = 64  # bytes at the end of what has been read that may be the beginning of the next number


class Subscriber:
    def __init__(self, address, after):
        self.socket = socket.create_connection(address, 30)
        self.socket.sendall(f"GET /v1/events?after={after} HTTP/1.1\r\nHost: {address[0]}\r\nAccept: text/event-stream\r\n\r\n".encode())
        self.open = False  # whether the answer has begun
        self.tail = b""
        self.numbers = array("q")
        self.times = array("d")
        self.failure = None

    def read(self, buffer):
        try:
            size = self.socket.recv_into(buffer)
        except OSError as error:
            size, self.failure = 0, type(error).__name__
        now = time.monotonic()
        if size == 0:
            self.failure = self.failure or "the stream ended"
            return
        data = self.tail + buffer[:size]
        if not self.open:
            if not data.startswith(b"HTTP/1.1 200"):
                self.failure = "not answered with 200"
            if (end := data.find(b"\r\n\r\n")) < 0:
                self.tail = data
                return
            self.open, data = True, b"\n" + data[end + 4 :]
        end = 0
        for found in NUMBER.finditer(data):
            self.numbers.append(int(found[1]))
            self.times.append(now)
            end = found.end() - 1  # the line end may begin the next number
        self.tail = data[max(end, len(data) - KEEP) :]

    def has(self, number):
        return bool(self.numbers) and self.numbers[-1] >= number


class Crowd:
    def __init__(self, address, after, count):
        self.started = time.monotonic()
        self.buffer = bytearray(1 << 18)
        self.view = memoryview(self.buffer)
        self.selector = selectors.DefaultSelector()
        self.all = [Subscriber(address, after) for _ in range(count)]
        for one in self.all:
            self.selector.register(one.socket, selectors.EVENT_READ, one)
        self.until = None

    def turn(self):
        """Reads what is there. What the starter says is the number of the last event to wait for."""
        for key, _ in self.selector.select(0.1):
            if key.data is None:
                self.hear()
                continue
            key.data.read(self.view)
            if key.data.failure:
                self.selector.unregister(key.data.socket)

    def listen(self):
        self.selector.register(0, selectors.EVENT_READ, None)

    def hear(self):
        text = os.read(0, 4096)
        if not text:
            os._exit(1)  # the starter is gone
        self.until = int(text)

    def going(self):
        return time.monotonic() - self.started < LIMIT and not any(one.failure for one in self.all)

    def done(self):
        return self.until is not None and all(one.has(self.until) for one in self.all)


def main():
    settings = child.settings()
    before = time.process_time()
    crowd = Crowd(tuple(settings["address"]), settings["after"], settings["count"])
    crowd.until = settings["until"]
    crowd.listen()
    while crowd.going() and not all(one.open for one in crowd.all):
        crowd.turn()
    child.say({"open": sum(one.open for one in crowd.all)})
    while crowd.going() and not crowd.done():
        crowd.turn()
    ended = time.monotonic()
    used = time.process_time() - before
    # One that gets an event twice may get it late.
    while time.monotonic() < ended + 0.5:
        crowd.turn()
    with open(settings["out"], "wb") as file:
        for one in crowd.all:
            array("q", [len(one.numbers)]).tofile(file)
            one.numbers.tofile(file)
            one.times.tofile(file)
    failures = sorted({one.failure for one in crowd.all if one.failure})
    child.say({"started": crowd.started, "ended": ended, "done": crowd.done(), "failures": failures, "cpu": used})


if __name__ == "__main__":
    main()

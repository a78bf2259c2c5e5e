"""A service of one's own: started on a free port of this machine only, and ended by its process id."""

import json
import os
import re
import signal
import subprocess
import time

from .wire import Connection

START = 120  # seconds until it listens; a thousand pipeline files are read first
STOP = 60  # seconds until it has ended


class Trouble(Exception):
    """The service did something that makes the measurement void."""


# What may go wrong in a round without ending the others.
FAILURES = (Trouble, OSError, ValueError, KeyError, subprocess.SubprocessError)


def why(failure):
    """In words for the results: only our own, since the system's are full of this machine's paths."""
    return str(failure) if isinstance(failure, Trouble) else f"{type(failure).__name__} while measuring"


class Service:
    """`tidegate serve` on the pipelines below `folder`, with its home in `folder` too, while it is entered."""

    def __init__(self, binary, folder):
        self.binary, self.folder = binary, folder
        self.process = self.address = None
        self.starts = 0

    def __enter__(self):
        self.starts += 1
        # None of the settings of whoever measures may reach it, and no proxy stands between it and this machine.
        env = {name: value for name, value in os.environ.items() if not name.startswith("TIDEGATE_")}
        env |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        command = [self.binary, "serve", "--home", "home", "--listen", "127.0.0.1:0", "-o", "json"]
        with open(self.out(), "wb") as out, open(self.error(), "wb") as error:
            self.process = subprocess.Popen(command, cwd=self.folder, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=error)
        try:
            self.address = self.listening()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *_):
        self.end()

    def out(self):
        return self.folder / f"out.{self.starts}"

    def error(self):
        return self.folder / f"error.{self.starts}"

    @property
    def pid(self):
        return self.process.pid

    def listening(self):
        until = time.monotonic() + START
        while time.monotonic() < until:
            if found := re.search(r"listening on http://([\d.]+):(\d+)", self.error().read_text(errors="replace")):
                return found[1], int(found[2])
            self.alive()
            time.sleep(0.05)
        raise Trouble(f"the service did not listen within {START} s")

    def alive(self):
        """Raises if it is not; its last words go to whoever watches, not into the results: they are full of this machine's paths."""
        if self.process.poll() is not None:
            raise Trouble(f"the service ended by itself with exit code {self.process.returncode}")

    def words(self):
        return self.error().read_text(errors="replace")[-2000:]

    def end(self):
        """Ends it, and says whether it ended well."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return self.process.returncode == 0

    def get(self, path):
        connection = Connection(self.address)
        try:
            answer = connection.ask("GET", path)
        finally:
            connection.close()
        if answer.status != 200:
            raise Trouble(f"GET {path} was answered with {answer.status}")
        return answer.body

    def json(self, path):
        return json.loads(self.get(path))

    def receipts(self):
        """Receipts so far; a line that is being written is left for the next time."""
        with open(self.out(), "rb") as file:
            return [json.loads(line) for line in file if line.endswith(b"\n")]

    def ask(self, *arguments, seconds=600):
        """What another command on the same home folder prints, as JSON values."""
        command = [self.binary, *arguments, "--home", "home", "-o", "json", "-q"]
        ended = subprocess.run(command, cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds)
        if ended.returncode:
            raise Trouble(f"tidegate {arguments[0]} ended with exit code {ended.returncode}")
        return [json.loads(line) for line in ended.stdout.splitlines()]

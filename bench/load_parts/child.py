"""A helper process: its settings are one JSON text, its lines come back as JSON, and it ends when its starter is gone."""

import contextlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

HERE = Path(__file__).parent.parent


class Child:
    """`python -m load_parts.NAME SETTINGS`, while it is entered."""

    def __init__(self, name, **settings):
        command = [sys.executable, "-m", f"load_parts.{name}", json.dumps(settings)]
        self.name = name
        self.process = subprocess.Popen(command, cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()

    def line(self):
        """The next line it says. It bounds its own time, so this comes to an end."""
        text = self.process.stdout.readline()
        if not text:
            raise ChildProcessError(f"the {self.name} failed")
        return json.loads(text)

    def tell(self, value):
        print(json.dumps(value), file=self.process.stdin, flush=True)


def settings():
    return json.loads(sys.argv[1])


def say(value):
    print(json.dumps(value), flush=True)


def end_with_starter(told=None):
    """Ends this process when its input does, so that it never outlives who started it. What the starter tells it calls `told`."""

    def wait():
        # Not by way of sys.stdin, whose lock a process that ends by itself would wait for.
        while os.read(0, 4096):
            if told:
                told()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()

"""Notes when rows become visible in a Delta table: as soon as any reader can see them, because the next entry of its log is there."""

import json
import threading
import time

EVERY = 0.005  # seconds between two looks


class Watch:
    """Watches the log of one table from its first entry on, while it is entered."""

    def __init__(self, table):
        self.log = table / "_delta_log"
        self.version = 0
        self.files = {}  # path: rows, of the data files the table has now
        self.rows = 0
        self.commits = []  # (when it was seen, rows in the table from then on)
        self.error = None
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()

    def work(self):
        try:
            while not self.ended.wait(EVERY):
                while self.next():
                    pass
        except (OSError, ValueError, KeyError, TypeError) as error:
            self.error = f"entry {self.version} of the Delta log could not be understood: {error!r}"

    def next(self):
        """Reads the next entry of the log, if there is one. Entries appear whole: they are put there under their name when they are."""
        try:
            text = (self.log / f"{self.version:020}.json").read_text()
        except FileNotFoundError:
            return False
        seen = time.monotonic()
        for line in text.splitlines():
            self.act(json.loads(line))
        self.commits.append((seen, self.rows))
        self.version += 1
        return True

    def act(self, action):
        if add := action.get("add"):
            rows = json.loads(add["stats"])["numRecords"]
            self.rows += rows - self.files.get(add["path"], 0)
            self.files[add["path"]] = rows
        elif remove := action.get("remove"):
            self.rows -= self.files.pop(remove["path"])

    def at(self, when):
        """Rows in the table at that time."""
        return next((rows for seen, rows in reversed(self.commits) if seen <= when), 0)


def waits(answered, rows, commits):
    """Seconds from each answer (their times in order, each for `rows` rows) until the table had all rows answered so far.
    Rows that are visible before their answer has arrived waited for nothing."""
    found, commit = [], iter(commits)
    seen, there = next(commit, (None, 0))
    for number, when in enumerate(answered, 1):
        while seen is not None and there < number * rows:
            seen, there = next(commit, (None, 0))
        if seen is None:
            break
        found.append(max(0.0, seen - when))
    return found

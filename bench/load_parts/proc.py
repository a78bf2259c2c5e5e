"""What a process takes, as the kernel counts it."""

import os
import threading
import time

TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def cpu(pid):
    """Processor seconds of the process since its start, in user and system mode, all threads."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        # The name of the program may have blanks in it; what follows its closing bracket has none.
        fields = file.read().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident(pid):
    """Resident memory in bytes."""
    with open(f"/proc/{pid}/statm", "rb") as file:
        return int(file.read().split()[1]) * PAGE


class Sampler:
    """Notes processor time and memory of a process every second, while it is entered."""

    def __init__(self, pid):
        self.pid = pid
        self.samples = []  # (when, processor seconds, resident bytes)
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.work, daemon=True)

    def __enter__(self):
        self.take()
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()
        self.take()

    def take(self):
        try:
            self.samples.append((time.monotonic(), cpu(self.pid), resident(self.pid)))
        except (OSError, IndexError):
            pass  # it has ended; whoever started it notices

    def work(self):
        while not self.ended.wait(1):
            self.take()

    def between(self, start, end):
        return [sample for sample in self.samples if start <= sample[0] <= end]

    def cores(self, start, end):
        """How much of one core it used between the two times."""
        found = self.between(start, end)
        if len(found) < 2:
            return 0.0
        (first, used_first, _), (last, used_last, _) = found[0], found[-1]
        return (used_last - used_first) / (last - first)

    def memory(self, start, end):
        return [sample[2] for sample in self.between(start, end)]


def free_disk(folder):
    stat = os.statvfs(folder)
    return stat.f_bavail * stat.f_frsize


def disk_use(folder):
    """Bytes on disk below the folder; a file with two names counts once."""
    seen, total = set(), 0
    for where, _, names in os.walk(folder):
        for name in names:
            try:
                stat = os.lstat(os.path.join(where, name))
            except FileNotFoundError:
                continue  # the service works on
            if (stat.st_dev, stat.st_ino) not in seen:
                seen.add((stat.st_dev, stat.st_ino))
                total += stat.st_blocks * 512
    return total


def file_system(folder):
    """The type of the file system the folder is on: what is in memory is not durable."""
    real, found, longest = os.path.realpath(folder), "unknown", -1
    with open("/proc/self/mounts") as mounts:
        for line in mounts:
            _, point, kind = line.split()[:3]
            if len(point) > longest and (real + "/").startswith(point.rstrip("/") + "/"):
                found, longest = kind, len(point)
    return found

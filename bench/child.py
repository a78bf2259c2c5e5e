"""Runs a child process and says what it used, as the kernel counts it."""

import os
import signal
import subprocess
import threading
import time
from dataclasses import dataclass


@dataclass
class Ended:
    """How a child ended."""

    code: int
    out: str
    error: str
    seconds: float  # from before its start until after its end
    peak: int  # most resident memory of the child or of one of its own children, in bytes
    written: int  # bytes it caused to be written to disk
    stopped: str | None  # why it was stopped, if it was


def available():
    """Memory the machine can still give, and all it has, in bytes."""
    with open("/proc/meminfo") as file:
        kib = dict(line.split()[:2] for line in file)
    return int(kib["MemAvailable:"]) * 1024, int(kib["MemTotal:"]) * 1024


def run(command, env=None, limit=None):
    """Runs `command` to its end, but stops it after `limit` seconds or before it takes the machine's last memory."""
    # Output goes to files that are read afterwards, so that nothing of ours competes for the processor meanwhile; to files
    # in memory, since what is written to disk is counted.
    with open(os.memfd_create("out"), "w+") as out, open(os.memfd_create("error"), "w+") as error:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=error, env=env, start_new_session=True)
        ended, stopped = threading.Event(), []
        watch = threading.Thread(target=guard, args=(process.pid, limit, ended, stopped))
        if limit:
            watch.start()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        ended.set()
        if limit:
            watch.join()
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        error.seek(0)
        return Ended(process.returncode, out.read(), error.read(), seconds, usage.ru_maxrss * 1024, usage.ru_oublock * 512, next(iter(stopped), None))


def guard(pid, limit, ended, stopped):
    """Stops the process group `pid` when it takes too long or when memory runs out, so that the machine survives."""
    until = time.monotonic() + limit
    while not ended.wait(0.1):
        free, total = available()
        if time.monotonic() > until:
            stopped.append(f"stopped after {limit} s")
        elif free < max(total // 8, 2 << 30):
            stopped.append("stopped: it took all memory")
        else:
            continue
        os.killpg(pid, signal.SIGKILL)
        return

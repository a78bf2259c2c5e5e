#!/usr/bin/env python3
"""Measures a run for which the publisher answers 304: time of the whole process, and what it writes (it should be nothing).

    unchanged.py BINARY FILE [--reruns 20]

prints one JSON line.
"""

import argparse
import hashlib
import http.server
import json
import os
import shutil
import statistics
import sys
import tempfile
import threading
from pathlib import Path

import child

sys.path.insert(0, str(Path(__file__).parent / "peers"))
from tidegate_peer import write_pipeline


class Publisher(http.server.ThreadingHTTPServer):
    """Serves one file with a strong ETag, on a free port of this machine only, and counts its answers."""

    daemon_threads = True

    def __init__(self, file):
        super().__init__(("127.0.0.1", 0), Answer)
        self.file = file
        with open(file, "rb") as content:
            self.etag = f'"{hashlib.file_digest(content, "sha256").hexdigest()}"'
        self.answers = {200: 0, 304: 0}


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        status = 304 if self.headers["If-None-Match"] == self.server.etag else 200
        self.server.answers[status] += 1
        self.send_response(status)
        self.send_header("ETag", self.server.etag)
        if status == 200:
            self.send_header("Content-Length", str(self.server.file.stat().st_size))
        self.end_headers()
        if status == 200:
            with open(self.server.file, "rb") as content:
                shutil.copyfileobj(content, self.wfile)

    def log_message(self, *_):
        pass


def everything(folder):
    """Every file and folder with all that would change if it were touched."""
    found = {}
    for path in [folder, *folder.rglob("*")]:
        stat = path.lstat()
        found[str(path.relative_to(folder))] = (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    return found


def run(binary, work):
    env = os.environ | {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    ended = child.run([binary, "run", work / "pipeline", "--home", work / "home", "-o", "json", "-q"], env)
    if ended.code:
        sys.exit(ended.error or ended.out)
    return ended, json.loads(ended.out)


def measure(binary, file, reruns):
    with Publisher(file) as publisher, tempfile.TemporaryDirectory(prefix="tidegate-bench-") as work:
        threading.Thread(target=publisher.serve_forever, daemon=True).start()
        work = Path(work)
        url = f"http://127.0.0.1:{publisher.server_port}/counties.csv"
        write_pipeline(work / "pipeline", f'http: {{ url: "{url}" }}')
        first, receipt = run(binary, work)
        assert receipt["outcome"] == "published", receipt
        before = everything(work / "home")
        ends = []
        for _ in range(reruns):
            ended, receipt = run(binary, work)
            assert receipt["outcome"] == "unchanged", receipt
            ends.append(ended)
        after = everything(work / "home")
        publisher.shutdown()
        times = sorted(ended.seconds * 1000 for ended in ends)
        return {
            "median_ms": round(statistics.median(times), 1),
            "fastest_ms": round(times[0], 1),
            "slowest_ms": round(times[-1], 1),
            "reruns": reruns,
            "answers_304": publisher.answers[304],
            "bytes_written": sum(ended.written for ended in ends),
            "touched": sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path)),
            "peak": max(ended.peak for ended in ends),
            "bytes_written_by_first_run": first.written,  # not zero: the meter works
        }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measures an unchanged rerun after a 304.")
    parser.add_argument("binary")
    parser.add_argument("file", type=Path)
    parser.add_argument("--reruns", type=int, default=20)
    args = parser.parse_args()
    print(json.dumps(measure(args.binary, args.file, args.reruns)))

"""A publisher with many small files that do not change: answers 304 to whoever has them. A process of its own. Started by idle.py."""

import asyncio
import json
from collections import Counter

from . import child

ROWS = 20


def content(path):
    """A file of its own for each address, so that no two pipelines share one."""
    return b"id,name,value\n" + b"".join(b"%d,%s,%d\n" % (row, path.strip(b"/").partition(b".")[0], row * row) for row in range(ROWS))


class Answers(asyncio.Protocol):
    """One connection. Requests have no bodies, so an empty line ends each."""

    def __init__(self, counts):
        self.counts = counts
        self.data = b""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.data += data
        while (end := self.data.find(b"\r\n\r\n")) >= 0:
            head, self.data = self.data[:end], self.data[end + 4 :]
            self.transport.write(self.answer(head))

    def answer(self, head):
        path = head.split(b" ", 2)[1]
        if path == b"/counts":
            body = json.dumps(self.counts).encode()
            return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        etag = b'"%b"' % path.strip(b"/")
        known = b"if-none-match: " + etag.lower() in head.lower()
        self.counts["304" if known else "200"] += 1
        if known:
            return b"HTTP/1.1 304 Not Modified\r\nETag: %b\r\n\r\n" % etag
        body = content(path)
        return b"HTTP/1.1 200 OK\r\nETag: %b\r\nContent-Type: text/csv\r\nContent-Length: %d\r\n\r\n%b" % (etag, len(body), body)


async def serve():
    counts = Counter({"200": 0, "304": 0})
    server = await asyncio.get_running_loop().create_server(lambda: Answers(counts), "127.0.0.1", 0)
    child.say({"port": server.sockets[0].getsockname()[1]})
    await server.serve_forever()


if __name__ == "__main__":
    child.end_with_starter()
    asyncio.run(serve())

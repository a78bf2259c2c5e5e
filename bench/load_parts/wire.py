"""HTTP/1.1 over one kept connection, with as little work as possible: whoever makes the load shares the processor with the service."""

import socket
from dataclasses import dataclass

PATIENCE = 90  # seconds for one answer; the service itself gives up after 60


@dataclass
class Answer:
    status: int
    retry_after: float
    body: bytes


class Connection:
    """One connection to `address`. An OSError leaves it closed; the next request opens a new one."""

    def __init__(self, address):
        self.address = address
        self.socket = None

    def ask(self, method, path, body=b"", headers=""):
        head = f"{method} {path} HTTP/1.1\r\nHost: {self.address[0]}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode()
        try:
            if self.socket is None:
                self.socket = socket.create_connection(self.address, PATIENCE)
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socket.sendall(head + body)
            return self.receive()
        except OSError:
            self.close()
            raise

    def receive(self):
        data = b""
        while (end := data.find(b"\r\n\r\n")) < 0:
            data += self.more()
        lines = data[:end].decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:])
        body, length = data[end + 4 :], headers.get("content-length")
        if length is None and headers.get("transfer-encoding") == "chunked":
            body = self.chunks(body)
        while length is not None and len(body) < int(length):
            body += self.more()
        if headers.get("connection") == "close":
            self.close()
        return Answer(int(lines[0].split()[1]), float(headers.get("retry-after", 1)), body)

    def chunks(self, data):
        """The whole of a chunked body, of which `data` is the beginning."""
        whole = b""
        while True:
            while (end := data.find(b"\r\n")) < 0:
                data += self.more()
            size, data = int(data[:end], 16), data[end + 2 :]
            while len(data) < size + 2:
                data += self.more()
            if size == 0:
                return whole
            whole, data = whole + data[:size], data[size + 2 :]

    def more(self):
        data = self.socket.recv(1 << 16)
        if not data:
            raise ConnectionError("the service closed the connection")
        return data

    def close(self):
        if self.socket is not None:
            self.socket.close()
            self.socket = None

"""A real HTTP proxy on loopback that stands before a store and, on command, treats its clients badly.

The Host header is passed on as the client wrote it, so signatures that cover it hold: clients use the proxy's endpoint
and the store's own keys.
"""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from http.client import HTTPConnection, HTTPException, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

_ERROR = "<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>"
_OURS = frozenset({"connection", "transfer-encoding", "content-length", "keep-alive"})


class Trouble(StrEnum):
    """What happens to a request."""

    STATUS = "status"
    """It is answered with an error and never reaches the store."""
    CUT_UPLOAD = "cut upload"
    """Half of its body reaches the store, then both connections end."""
    CUT_ANSWER = "cut answer"
    """The store does it; half of the answer's body reaches the client, then the connection ends."""
    LOSE_ANSWER = "lose answer"
    """The store does it; the connection ends without a word of the answer."""
    DELAY = "delay"
    """It reaches the store late."""


@dataclass
class Fault:
    """Trouble for requests of a kind, so many times."""

    trouble: Trouble
    method: str = ""
    """Only for requests of this method; empty for all."""
    path: str = ""
    """Only for requests whose path and query, unquoted, hold this."""
    times: int = 1
    share: float = 1.0
    """How many of the requests that it is for it happens to, chosen at random."""
    status: int = 503
    code: str = "SlowDown"
    seconds: float = 0.0


class Flaky:
    """The proxy. It passes everything on until it is told otherwise."""

    def __init__(self, store: str, seed: int = 0) -> None:
        self._store = urlsplit(store).netloc
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._open: set[socket.socket] = set()
        self._server: ThreadingHTTPServer | None = None
        self._port = 0
        self.requests: list[tuple[str, str]] = []
        """Method and path of every request so far."""
        self.happened: list[tuple[Trouble, str, str]] = []
        """Trouble, method and path of what went wrong so far."""
        self.accept()

    @property
    def endpoint(self) -> str:
        """Where clients go, as in ``http://127.0.0.1:1234``."""
        return f"http://127.0.0.1:{self._port}"

    def inject(self, fault: Fault) -> None:
        """Let a fault happen from now on; of several that fit a request, the first one given."""
        with self._lock:
            self._faults.append(fault)

    def calm(self) -> None:
        """Forget all faults that have not happened yet, and accept connections."""
        with self._lock:
            self._faults.clear()
        self.accept()

    def refuse(self) -> None:
        """End all connections and refuse new ones, as a store that is down does."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
            for connection in list(self._open):
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def accept(self) -> None:
        """Accept connections again, at the same endpoint."""
        if self._server is None:
            self._server = _Server(("127.0.0.1", self._port), _Handler)
            self._server.flaky = self
            self._port = self._server.server_port
            threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def met(self, method: str, target: str) -> Fault | None:
        """The fault that a request runs into."""
        path = unquote(target)
        with self._lock:
            self.requests.append((method, path))
            for fault in self._faults:
                if fault.method in ("", method) and fault.path in path and self._random.random() < fault.share:
                    fault.times -= 1
                    self._faults = [other for other in self._faults if other.times > 0]
                    self.happened.append((fault.trouble, method, path))
                    return fault
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    flaky: Flaky

    def handle_error(self, request: object, client_address: object) -> None:
        """Broken connections are what this is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.server.flaky._open.add(self.connection)

    def finish(self) -> None:
        self.server.flaky._open.discard(self.connection)
        super().finish()

    def pass_on(self) -> None:
        body = self._body()
        fault = self.server.flaky.met(self.command, self.path) or Fault(Trouble.DELAY)
        match fault.trouble:
            case Trouble.STATUS:
                self._answer(fault.status, {"Content-Type": "application/xml"}, _ERROR.format(code=fault.code).encode())
            case Trouble.CUT_UPLOAD:
                with self._asked(body[: len(body) // 2], len(body)):
                    self._end()
            case Trouble.LOSE_ANSWER:
                with self._asked(body, len(body)) as store:
                    store.getresponse().read()
                self._end()
            case Trouble.CUT_ANSWER:
                with self._asked(body, len(body)) as store:
                    status, headers, data = _read(store.getresponse())
                self._answer(status, headers, data, cut=True)
            case Trouble.DELAY:
                time.sleep(fault.seconds)
                with self._asked(body, len(body)) as store:
                    self._answer(*_read(store.getresponse()))

    do_DELETE = do_GET = do_HEAD = do_POST = do_PUT = pass_on  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(chunks)

    @contextmanager
    def _asked(self, body: bytes, length: int) -> Iterator[HTTPConnection]:
        """The store, having got the request with so much of its body."""
        store = HTTPConnection(self.server.flaky._store)
        try:
            store.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in _OURS | {"expect"}:
                    store.putheader(name, value)
            if length or self.command in ("PUT", "POST"):
                store.putheader("Content-Length", str(length))
            store.endheaders(body)
            yield store
        except (OSError, HTTPException):
            self._end()
        finally:
            store.close()

    def _answer(self, status: int, headers: dict[str, str], data: bytes, cut: bool = False) -> None:
        self.send_response_only(status)
        length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(data))
        for name, value in headers.items():
            if name.lower() not in _OURS:
                self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", length)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if cut else data)
        if cut:
            self._end()

    def _end(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


def _read(response: HTTPResponse) -> tuple[int, dict[str, str], bytes]:
    return response.status, dict(response.getheaders()), response.read()


@contextmanager
def flaky(store: str, seed: int = 0) -> Iterator[Flaky]:
    """A proxy before the store at an endpoint, for as long as the block lasts."""
    proxy = Flaky(store, seed)
    try:
        yield proxy
    finally:
        proxy.refuse()

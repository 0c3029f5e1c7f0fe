"""A model hub on loopback, as far as the hub's own library asks of one: a repository of one revision, in a folder."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """The server, and what was asked of it."""

    def __init__(self, repository: str, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repository = repository
        self.folder = folder
        self.downloads = Counter[str]()
        """How often each file's content was asked for."""
        self.cuts = False
        """Whether connections end in the middle of a file."""

    @property
    def endpoint(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def hub(repository: str, folder: Path) -> Iterator[Hub]:
    """Serve a folder as a repository for as long as the block lasts."""
    with Hub(repository, folder) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path, hub = unquote(urlsplit(self.path).path), self.server
        name = path.removeprefix(f"/{hub.repository}/resolve/{COMMIT}/")
        if path.startswith(f"/api/models/{hub.repository}/tree/"):
            self._json([_entry(file, hub.folder) for file in sorted(hub.folder.rglob("*")) if file.is_file()])
        elif path.startswith(f"/api/models/{hub.repository}/revision/"):
            self._json({"id": hub.repository, "sha": COMMIT, "siblings": []})
        elif name != path and (hub.folder / name).is_file():
            self._file(name)
        else:
            self._answer(404, b"", {"X-Error-Code": "RepoNotFound"})

    def _json(self, content: object) -> None:
        self._answer(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _file(self, name: str) -> None:
        data = (self.server.folder / name).read_bytes()
        self.server.downloads[name] += self.command == "GET"
        self._answer(200, data, {"ETag": f'"{_hash(data)}"', "X-Repo-Commit": COMMIT}, self.server.cuts)

    def _answer(self, status: int, body: bytes, headers: dict[str, str], cut: bool = False) -> None:
        self.send_response(status)
        for header in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(*header)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body[: len(body) // 2] if cut else body)

    def log_message(self, *_: object) -> None:
        pass


def _entry(file: Path, folder: Path) -> dict[str, object]:
    data = file.read_bytes()
    return {"type": "file", "path": file.relative_to(folder).as_posix(), "size": len(data), "oid": _hash(data)}


def _hash(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()

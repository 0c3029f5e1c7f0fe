"""Real servers that tests start: an S3 store."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sysconfig
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import s3fs

KEY, SECRET = "mill", "sails"


class S3Server:
    """A SeaweedFS server on this machine, with one user who may do everything."""

    def __init__(self, folder: Path) -> None:
        master, volume, filer, port = _free_ports(4)
        self.endpoint = f"http://127.0.0.1:{port}"
        identity = {"name": KEY, "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": ["Admin"]}
        access = folder / "s3.json"
        access.write_text(json.dumps({"identities": [identity]}))
        ports = {"master": master, "volume": volume, "filer": filer, "s3": port}
        options = {
            "-dir": folder,
            "-ip": "127.0.0.1",
            "-ip.bind": "127.0.0.1",
            **{f"-{name}.port": number for name, number in ports.items()},
            "-volume.max": 50,
            "-master.volumeSizeLimitMB": 64,
            "-s3.config": access,
            "-s3.port.iceberg": 0,
            "-s3.port.lance": 0,
        }
        command = [Path(sysconfig.get_path("scripts"), "weed"), "server", "-filer", "-s3"]
        self._log = (folder / "log.txt").open("wb")
        self._process = subprocess.Popen(
            [*map(str, command), *(f"{name}={value}" for name, value in options.items())],
            stdout=self._log,
            stderr=self._log,
            env={**os.environ, "GOMEMLIMIT": "200MiB"},
        )
        self._wait()

    @property
    def environment(self) -> dict[str, str]:
        """The variables that every S3 client obeys."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def files(self) -> s3fs.S3FileSystem:
        """A client that needs no environment."""
        options = {"endpoint_url": self.endpoint, "region_name": "us-east-1"}
        return s3fs.S3FileSystem(key=KEY, secret=SECRET, client_kwargs=options, use_listings_cache=False)

    def new_bucket(self) -> str:
        """Make an empty bucket; returns its URI."""
        name = f"test-{secrets.token_hex(4)}"
        self.files().mkdir(name)
        return f"s3://{name}"

    def stop(self) -> None:
        """End the server at once: it takes its time when asked politely."""
        self._process.kill()
        self._process.wait()
        self._log.close()

    def _wait(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.endpoint}/healthz", timeout=5):  # noqa: S310
                    return
            except OSError:
                time.sleep(0.1)
        self.stop()
        raise RuntimeError(Path(self._log.name).read_text()[-2000:])


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """A server for as long as the block lasts."""
    server = S3Server(folder)
    try:
        yield server
    finally:
        server.stop()


def _free_ports(count: int) -> list[int]:
    """Ports that are free, and free 10,000 higher, where the server's own protocol listens."""
    found: list[int] = []
    while len(found) < count:
        port = 10_000 + secrets.randbelow(12_000)
        if port not in found and _is_free(port) and _is_free(port + 10_000):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0

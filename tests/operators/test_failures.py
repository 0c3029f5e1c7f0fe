"""What passes by itself is told from what lasts, by real errors of real drivers as far as they can be had."""

from __future__ import annotations

import datetime
import errno
import http.server
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest
import s3fs
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from jobs.stores import patience
from jobs.stores.patience import patiently
from jobs.stores.store import Store
from operators.errors import SinkError
from operators.failures import Failure, failure


@pytest.fixture
def untrusted(tmp_path: Path) -> Iterator[str]:
    """A server whose certificate nobody has signed."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=True)
        .sign(key, hashes.SHA256())
    )
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path = tmp_path / "both.pem"
    pem = serialization.Encoding.PEM
    path.write_bytes(key.private_bytes(pem, *form) + certificate.public_bytes(pem))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (ConnectionResetError(), Failure.AWAY),
        (TimeoutError(), Failure.AWAY),
        (OSError(errno.ESTALE, "stale"), Failure.AWAY),
        (socket.gaierror(socket.EAI_AGAIN, "later"), Failure.AWAY),
        (OSError(errno.ENOSPC, "full"), Failure.FULL),
        (OSError(errno.EDQUOT, "quota"), Failure.FULL),
        (OSError(errno.EROFS, "read-only"), Failure.READ_ONLY),
        (PermissionError(errno.EACCES, "no"), Failure.DENIED),
        (OSError("Forbidden: https://storage.googleapis.com/x"), Failure.DENIED),
        (FileNotFoundError(errno.ENOENT, "x"), Failure.NOTHING_THERE),
        (NotADirectoryError(errno.ENOTDIR, "x"), Failure.NOT_A_FOLDER),
        (OSError(errno.EIO, "broken"), Failure.OTHER),
        (ValueError("a bug"), Failure.OTHER),
    ],
    ids=str,
)
def test_errors_of_the_system(error: Exception, found: Failure) -> None:
    assert failure(error) is found
    assert found.passes == (found is Failure.AWAY)


def test_a_host_that_there_is_not_is_not_waited_for() -> None:
    unknown = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    key = aiohttp.client_reqrep.ConnectionKey("nowhere", 443, True, True, None, None, None)
    error = aiohttp.ClientConnectorDNSError(key, unknown)
    assert failure(error) is Failure.AWAY
    error.__cause__ = error.__context__ = unknown
    assert failure(error) is Failure.OTHER


def test_a_certificate_that_nobody_signed_is_not_waited_for(untrusted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ENDPOINT_URL": untrusted, "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    s3fs.S3FileSystem.clear_instance_cache()
    began = time.monotonic()
    with pytest.raises(SinkError, match=r"can't be read or written .*CERTIFICATE_VERIFY_FAILED"):
        Store("s3://bucket/x").put("a", b"1")
    assert time.monotonic() - began < patience.PATIENCE / 4
    s3fs.S3FileSystem.clear_instance_cache()


def test_what_passes_is_tried_again_until_patience_ends_and_the_last_error_is_raised() -> None:
    tries = []

    def fail() -> None:
        tries.append(time.monotonic())
        raise ConnectionResetError(len(tries))

    with pytest.raises(ConnectionResetError) as caught:
        patiently(fail, 2.0)
    assert caught.value.args[0] == len(tries) > 3
    assert tries[-1] - tries[0] < 2.0
    with pytest.raises(FileNotFoundError):
        patiently(Path("/nowhere").read_bytes, 60.0)


def test_long_waits_are_told_without_secrets(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(patience, "_SILENT", 0.0)
    errors = [ConnectionResetError("at https://host/x?sig=abc")]

    def fail_once() -> str:
        if errors:
            raise errors.pop()
        return "done"

    assert patiently(fail_once) == "done"
    assert caplog.messages == ["a store fails and is tried again: ConnectionResetError: at https://host/x?..."]

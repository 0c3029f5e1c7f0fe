from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.photos import Photos, make_photos
from tests.servers import GCSServer, S3Server, gcs_server, s3_server

# Ray then listens on loopback only, on Linux too; it reads this when it is imported.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
# The GCS driver then leaves out calls that only Google's own servers answer; it reads this when it is imported.
os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    """The folder of photographs; not to be written to."""
    return make_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="session")
def s3_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 store, started once."""
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3(s3_store: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The S3 store, with the environment that leads to it."""
    for name, value in s3_store.environment.items():
        monkeypatch.setenv(name, value)
    return s3_store


@pytest.fixture(scope="session")
def gcs_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GCSServer]:
    """A real server of Google Cloud Storage's protocol, started once."""
    with gcs_server(tmp_path_factory.mktemp("gcs")) as server:
        yield server


@pytest.fixture
def gcs(gcs_store: GCSServer, monkeypatch: pytest.MonkeyPatch) -> GCSServer:
    """The GCS store, with the environment that leads to it."""
    for name, value in gcs_store.environment.items():
        monkeypatch.setenv(name, value)
    return gcs_store

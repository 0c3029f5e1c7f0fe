from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.photos import Photos, make_photos
from tests.servers import S3Server, s3_server

# Ray then listens on loopback only, on Linux too; it reads this when it is imported.
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"


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

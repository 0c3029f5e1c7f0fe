from __future__ import annotations

import pickle
import time

import pytest
import s3fs

from operators.errors import SourceError
from tests.jobs.reading import described
from tests.servers import S3Server


def test_mistakes_are_one_clear_line(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = s3.new_bucket()
    with pytest.raises(
        SourceError, match=r"s3://no-such-bucket/x: there is no such bucket, or no longer; check its name"
    ):
        described("s3://no-such-bucket/x")
    with pytest.raises(SourceError, match="there is nothing here"):
        described(f"{uri}/nowhere/")
    with pytest.raises(SourceError, match="there are no files here"):
        described(uri)
    for name, value in {"AWS_SECRET_ACCESS_KEY": "wrong", "AWS_ACCESS_KEY_ID": "nobody"}.items():
        monkeypatch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()
        with pytest.raises(SourceError, match=r"access is denied .*; check the credentials and the rights") as caught:
            described(f"{uri}/photos/")
        assert "\n" not in str(caught.value)
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_worker_without_rights_rejects_no_rows(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = s3.new_bucket()
    s3.files().pipe_file(f"{uri}/in/a.jpg", b"a")
    sent = pickle.dumps(described(f"{uri}/in").fragments)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    s3fs.S3FileSystem.clear_instance_cache()
    (fragment,) = pickle.loads(sent)
    with pytest.raises(SourceError, match=r"a\.jpg: access is denied"):
        list(fragment.read(4))
    s3fs.S3FileSystem.clear_instance_cache()


def test_no_credentials_at_all(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = s3.new_bucket()
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    s3fs.S3FileSystem.clear_instance_cache()
    began = time.monotonic()
    with pytest.raises(SourceError, match="redentials"):
        described(f"{uri}/photos/")
    assert time.monotonic() - began < 30
    s3fs.S3FileSystem.clear_instance_cache()

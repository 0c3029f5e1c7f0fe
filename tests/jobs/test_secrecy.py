"""Credentials in URIs are refused in a job, and never said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs import Job
from jobs.cli import main
from jobs.secrecy import redacted, refuse_credentials
from jobs.stores.access import explained
from operators.errors import ImageMissingError, SourceError, SpecError
from operators.images import decode

SECRET = "-".join(["correct", "horse"])
WITH_CREDENTIALS = [
    f"s3://key:{SECRET}@bucket/x",
    f"https://{SECRET}@host/x",
    f"https://host/x.tar?X-Amz-Algorithm=A&X-Amz-Credential=key&X-Amz-Signature={SECRET}",
    f"https://storage.googleapis.com/b/x?x-goog-signature={SECRET}",
    f"https://account.blob.core.windows.net/b/x?sv=1&sig={SECRET}",
    f"https://host/x?access_token={SECRET}",
    f"simplecache::https://host/x?token={SECRET}",
]
WITHOUT = [
    "s3://bucket/a:b@c/x?versionId=3",
    "abfs://container@account.dfs.core.windows.net/x",
    "sftp://user@host/x",
    "builtin:shapes?rows=4&seed=3",
    "photos/*.png",
    "a cat, signature=none",
]


@pytest.mark.parametrize("uri", WITH_CREDENTIALS)
def test_a_job_with_credentials_is_refused_in_one_line_that_does_not_repeat_them(
    uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "job.yaml"
    good: dict[str, Any] = {"source": "builtin:shapes?rows=2", "steps": ["caption"], "sink": str(tmp_path / "out")}
    model = {"steps": [{"caption": {"model": uri}}]}
    sink = {"sink": {"uri": uri, "part_rows": 1}}
    for bad, key in (({"source": uri}, "source.uri"), (sink, "sink.uri"), (model, None)):
        path.write_text(yaml.safe_dump(good | bad))
        with pytest.raises(SystemExit) as ended:
            main(["plan", str(path)])
        said = capsys.readouterr()
        assert (ended.value.code, said.out, len(said.err.splitlines())) == (2, "", 1)
        assert SECRET not in said.err
        if key:
            assert f"{key}: there are credentials in this URI; leave them out" in said.err
    path.write_text(yaml.safe_dump(good))
    with pytest.raises(SystemExit):
        main(["plan", str(path), "--set", f"source.uri={uri}"])
    said = capsys.readouterr()
    assert SECRET not in said.out + said.err
    assert "source.uri: there are credentials in this URI" in said.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("uri", WITH_CREDENTIALS)
def test_in_python_it_is_refused_at_the_plan(uri: str) -> None:
    with pytest.raises(SpecError, match="there are credentials in this URI") as caught:
        Job(source=uri, steps=[], sink="out").plan()
    assert SECRET not in str(caught.value)
    assert caught.value.where == "source.uri"


@pytest.mark.parametrize("uri", WITH_CREDENTIALS)
def test_what_is_said_of_a_uri_leaves_secrets_out(uri: str) -> None:
    assert SECRET not in redacted(f"can't open '{uri}' (OSError: {uri})")
    with pytest.raises(SourceError) as caught, explained(uri, SourceError):
        raise OSError(f"can't open {uri}")
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("uri", [f"https://host/x.png?sig={SECRET}", f"https://user:{SECRET}@host/x.png"])
def test_what_is_said_of_a_row_leaves_them_out(uri: str) -> None:
    with pytest.raises(ImageMissingError, match=r"nothing could be read at 'https://host/x\.png'"):
        decode({"bytes": None, "path": uri})


@pytest.mark.parametrize("text", WITHOUT)
def test_what_holds_no_credentials_passes(text: str) -> None:
    refuse_credentials({"source": {"uri": text}, "steps": [{"x": [text, 1, None]}]})

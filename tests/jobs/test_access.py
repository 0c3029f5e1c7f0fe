"""What stores raise becomes one line of the user's error that was asked for."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from jobs.stores.access import explained
from jobs.stores.store import Store
from operators.errors import SinkError, SourceError, UserError


@pytest.mark.parametrize("kind", [SinkError, SourceError])
@pytest.mark.parametrize(
    ("error", "line"),
    [
        (FileNotFoundError("x"), "s3://a: there is nothing here; check the path, or the bucket's name"),
        (NotADirectoryError("x"), "s3://a: a part of this path is a file; name a folder"),
        (PermissionError("no\nmore"), "s3://a: access is denied (no); check the credentials and the rights"),
        (ImportError("x"), "s3://a: s3:// needs another package: pip install 'latentmill[s3]'"),
        (OSError("x\ny"), "s3://a: can't be read or written (OSError: x)"),
        (pa.ArrowInvalid("x"), "s3://a: can't be read or written (ArrowInvalid: x)"),
        (
            ValueError("Protocol not known: x"),
            "s3://a: Protocol not known: x; write a local path, or a URI such as s3:",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_store_s_error_is_one_line(kind: type[UserError], error: Exception, line: str) -> None:
    with pytest.raises(kind) as caught, explained("s3://a", kind):
        raise error
    assert str(caught.value).startswith(line)
    assert "\n" not in str(caught.value)


def test_a_bug_is_not_explained_away() -> None:
    with pytest.raises(ValueError, match="a bug"), explained("s3://a", SinkError):
        raise ValueError("a bug")


def test_a_file_where_a_folder_should_be_is_no_lost_race(tmp_path: Path) -> None:
    (tmp_path / "_latentmill").write_text("x")
    with pytest.raises(SinkError, match=r"File exists|name a folder"):
        Store(str(tmp_path)).put_new("_latentmill/epochs/1.json", b"{}")

"""From an adapter's name to its file, or to one clear line; and what is kept of adapters."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import save_file

from jobs import Job
from operators.errors import ModelError
from operators.models.adapters import AdapterFiles, AdapterRef
from operators.models.kept import Kept
from operators.models.ref import Origin
from tests.hub import COMMIT, hub


def files(name: object, allow_pickle: bool = False, cache: Path | None = None) -> AdapterFiles:
    return AdapterFiles(AdapterRef.parse(str(name)), ("usual", "rarer"), allow_pickle, cache)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "made"
    made.mkdir()
    save_file({"a": torch.ones(2)}, made / "one.safetensors")
    torch.save({"a": torch.ones(3)}, made / "one.bin")
    return made


@pytest.mark.parametrize(
    ("name", "repository", "file", "revision"),
    [
        ("org/name", "org/name", "", None),
        ("org/name@main", "org/name", "", "main"),
        ("org/name/sub/x.safetensors@main", "org/name", "sub/x.safetensors", "main"),
    ],
)
def test_a_file_of_a_repository_may_be_named(name: str, repository: str, file: str, revision: str | None) -> None:
    ref = TypeAdapter(AdapterRef).validate_python(name)
    assert (ref.origin, ref.repository, ref.file, ref.revision) == (Origin.HUB, repository, file, revision)


@pytest.mark.parametrize("name", ["", "name", "builtin:name"])
def test_a_name_that_can_be_no_adapter(name: str) -> None:
    with pytest.raises(ValidationError, match="is no adapter"):
        TypeAdapter(AdapterRef).validate_python(name)


def test_a_folder_has_the_file_that_is_called_as_usual_or_is_the_only_one(folder: Path) -> None:
    assert files(folder).path.name == "one.safetensors"
    assert files(folder / "one.bin", allow_pickle=True).path.name == "one.bin"
    for name in ("rarer", "usual"):
        save_file({"a": torch.ones(1)}, folder / f"{name}.safetensors")
        assert files(folder).path.name == f"{name}.safetensors"
    (folder / "usual.safetensors").unlink()
    (folder / "rarer.safetensors").rename(folder / "two.safetensors")
    with pytest.raises(ModelError, match=r"several files of weights, one\.safetensors, two\.safetensors: name one"):
        files(folder)


def test_what_is_no_file_of_weights_is_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file or folder"):
        files(tmp_path / "nowhere.safetensors")
    with pytest.raises(ModelError, match=r"has no usual\.safetensors"):
        files(tmp_path)
    (tmp_path / "notes.txt").write_text("a")
    with pytest.raises(ModelError, match="is no file of weights"):
        files(tmp_path / "notes.txt")
    (folder / "one.safetensors").unlink()
    with pytest.raises(ModelError, match=r"has only one\.bin, a pickle, .* `allow_pickle: true`"):
        files(folder)
    assert torch.equal(files(folder, allow_pickle=True).read()["a"], torch.ones(3))


@pytest.mark.parametrize("name", ["broken.safetensors", "broken.bin"])
def test_a_file_that_can_not_be_read_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"nothing")
    with pytest.raises(ModelError, match=f"can't be read: {name}"):
        files(tmp_path / name, allow_pickle=True).read()


def test_the_digest_is_of_the_file(folder: Path) -> None:
    wanted = hashlib.sha256((folder / "one.safetensors").read_bytes()).hexdigest()
    assert files(folder).digest == files(folder / "one.safetensors").digest == wanted


def test_a_file_or_folder_behind_a_uri_is_copied(folder: Path, tmp_path: Path) -> None:
    for name in (f"file://{folder}", f"file://{folder}/one.safetensors"):
        found = files(name, cache=tmp_path / "cache")
        assert found.path.is_relative_to(tmp_path / "cache")
        assert found.digest == files(folder).digest


def test_a_plan_refuses_an_adapter_that_is_not_there(folder: Path) -> None:
    def job(weights: Path) -> Job:
        steps = [{"generate": {"prompt": "a", "controls": [{"lora": {"weights": str(weights)}}]}}]
        return Job(source="builtin:shapes?rows=2", steps=steps, sink=str(folder / "out"))  # type: ignore[arg-type]

    assert job(folder / "one.safetensors").plan().rows
    with pytest.raises(ModelError, match="there is no file or folder"):
        job(folder / "two.safetensors").plan()


def test_what_was_used_last_is_kept() -> None:
    loaded: list[str] = []

    def load(name: str) -> str:
        loaded.append(name)
        return name.upper()

    kept: Kept[str, str] = Kept(2)
    assert [kept.get(name, lambda name=name: load(name)) for name in "abacab"] == list("ABACAB")  # type: ignore[misc]
    assert loaded == list("abcb")


_LOADING = """
import sys
from operators.models.adapters import AdapterFiles, AdapterRef
for name in sys.argv[1:]:
    print(AdapterFiles(AdapterRef.parse(name), ["usual"]).digest)
"""


def test_of_a_repository_only_what_is_needed_is_downloaded(folder: Path, tmp_path: Path) -> None:
    (folder / "unet").mkdir()
    for name, count in (("unet/large", 8), ("unet/named", 9)):
        save_file({"a": torch.ones(count)}, folder / f"{name}.safetensors")
    names = ["org/lora", f"org/lora/unet/named.safetensors@{COMMIT}"]
    with hub("org/lora", folder) as served:
        environment = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_ENDPOINT": served.endpoint}
        done = subprocess.run(
            [sys.executable, "-c", _LOADING, *names], env=environment, capture_output=True, text=True, check=False
        )
        downloads = dict(served.downloads)
    assert done.returncode == 0, done.stderr
    wanted = [folder / "one.safetensors", folder / "unet" / "named.safetensors"]
    assert done.stdout.split() == [files(path).digest for path in wanted]
    assert downloads == {"one.safetensors": 1, "unet/named.safetensors": 1}

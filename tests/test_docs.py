"""What the documents say, held against the code: every job file is planned, every option and error code is listed."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from pydantic import BaseModel

from cluster.resources import Resources
from jobs import Job, LineageSpec, SinkSpec, SourceSpec
from jobs.jobfile import JobFile
from jobs.show import options
from jobs.spec import METHOD, methods
from operators import KINDS, columns, errors
from operators.images import encode_all
from operators.models.builtin import scenes

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
BASE = {"source": "builtin:shapes?rows=24", "steps": ["caption"], "sink": "out/example"}
"""What an example that shows a part of a job is laid upon."""


def yaml_blocks() -> Iterator[Any]:
    for page in PAGES:
        for number, block in enumerate(re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)):
            yield pytest.param(block, id=f"{page.name}-{number}")


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the examples' relative paths start at."""
    pictures = encode_all(scenes.draw([scenes.scene(number, 4) for number in range(3)]))
    (tmp_path / "photos").mkdir()
    (tmp_path / "shards").mkdir()
    with tarfile.open(tmp_path / "shards" / "00000.tar", "w") as shard:
        for number, picture in enumerate(pictures.to_pylist()):
            (tmp_path / "photos" / f"{number}.png").write_bytes(picture["bytes"])
            entry = tarfile.TarInfo(f"{number}.png")
            entry.size = len(picture["bytes"])
            shard.addfile(entry, io.BytesIO(picture["bytes"]))
    table = {"sku": [1, 2, 3], "caption_en": ["a", "b", "c"], "img": pa.array(pictures, columns.IMAGE)}
    pq.write_table(pa.table(table), tmp_path / "table.parquet")
    (tmp_path / "prompts.txt").write_text("a red circle\na blue square\n")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("block", list(yaml_blocks()))
def test_a_job_file_in_the_documents_is_planned(data: Path, block: str) -> None:
    keys = yaml.safe_load(block).keys()
    missing = {key: value for key, value in BASE.items() if key not in keys}
    path = data / "job.yaml"
    path.write_text(yaml.safe_dump(missing, sort_keys=False) * bool(missing) + block)
    assert JobFile.read(path).plan().rows != 0


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_planned(data: Path, path: Path) -> None:
    plan = JobFile.read(path).plan()
    assert plan.rows
    assert plan.job.name == path.stem
    assert data.is_dir()


@pytest.mark.parametrize(
    "model",
    [SourceSpec, SinkSpec, LineageSpec, Resources, *(spec for specs in KINDS.values() for spec in specs)],
    ids=lambda model: str(model.__name__),
)
def test_every_option_is_in_the_documents(model: type[BaseModel]) -> None:
    lines = (ROOT / "docs" / "job-file.md").read_text().splitlines()
    for name, default, about in options(model):
        shown = default if default in ("-", "must be given") else f"`{default}`"
        assert name == METHOD or f"| `{name}` | {shown} | {about} |" in lines


def test_every_method_is_in_the_documents() -> None:
    lines = (ROOT / "docs" / "job-file.md").read_text().splitlines()
    several = {kind: methods(kind) for kind in KINDS if methods(kind)}
    assert all(f"### {kind}" in lines for kind in KINDS)
    assert all(f"#### {kind}: {method}" in lines for kind, specs in several.items() for method in specs)


def test_every_key_of_a_job_is_in_the_documents() -> None:
    text = (ROOT / "docs" / "job-file.md").read_text()
    assert not [name for name in Job.model_fields if f"| `{name}` | " not in text]


def test_the_table_of_errors_is_the_tree_of_classes() -> None:
    told = re.findall(
        r"^\| `(\w+)` \| `(\w+)` \| .+ \| .+ \|$", (ROOT / "docs" / "errors.md").read_text(), re.MULTILINE
    )
    assert sorted(told) == sorted((kind.code, kind.__name__) for kind in _below(errors.LatentmillError))


def test_no_two_errors_share_a_code() -> None:
    codes = [kind.code for kind in _below(errors.LatentmillError)]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), target


def _below(kind: type[errors.LatentmillError]) -> list[type[errors.LatentmillError]]:
    return [found for child in kind.__subclasses__() for found in (child, *_below(child)) if _ours(found)]


def _ours(kind: type) -> bool:
    return kind.__module__ == errors.__name__

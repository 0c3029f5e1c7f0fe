"""Mistakes in a job file: each is one line with file, line, key, and what to write instead; nothing is written."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest

from jobs.jobfile import JobFile
from operators.errors import ColumnError, ModelError, SinkError, SourceError, SpecError, UserError

GOOD = """
name: good
source: builtin:shapes?rows=24
steps:
  - caption: {num_beams: 3}
  - generate:
      prompt: {column: caption}
      steps: 20
sink:
  uri: out
  part_rows: 8
seed: 3
max_rejects: 1%
resources:
  default: {batch_rows: 4}
  generate: {actors: {min: 1, max: 2}}
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "job.yaml"
    path.write_text(textwrap.dedent(text).lstrip())
    return path


def refused(folder: Path, text: str, *changes: str) -> str:
    """The line about a job file, without the folder that the file lies in."""
    path = written(folder, text)
    before = set(folder.rglob("*"))
    with pytest.raises(UserError) as caught:
        JobFile.read(path, changes).plan()
    assert set(folder.rglob("*")) == before
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(f"{folder}/", "")


def test_a_job_file_is_a_job(tmp_path: Path) -> None:
    plan = JobFile.read(written(tmp_path, GOOD)).plan()
    assert plan.job.step_names == ["caption", "generate"]
    assert (plan.rows, plan.parts, plan.job.sink.part_rows) == (24, 3, 8)
    assert plan.job.resources["generate"].pool.max == 2


CHANGED = [
    ("name: good", "nmae: good", "1: nmae: there is no option 'nmae'; did you mean 'name'?"),
    ("steps:\n  - cap", "step:\n  - cap", "3: step: there is no option 'step'; did you mean 'steps'?"),
    ("name: good", "name: a b", '1: name: "a b" won\'t do; write text of the form ^[A-Za-z0-9][A-Za-z0-9._-]*$'),
    ("name: good", "name: 2026", "1: name: 2026 won't do; write text, in quotes if need be"),
    (
        "builtin:shapes?rows=24",
        "{uri: builtin:shapes, limt: 3}",
        "2: source.limt: there is no option 'limt'; did you mean 'limit'?",
    ),
    (
        "builtin:shapes?rows=24",
        "{uri: builtin:shapes, format: csv}",
        "2: source.format: \"csv\" won't do; write 'parquet', 'images', 'webdataset', 'lance', 'text', 'shapes' or "
        "'pie_bench'",
    ),
    (
        "builtin:shapes?rows=24",
        "{uri: builtin:shapes, columns: 3}",
        "2: source.columns: 3 won't do; write a list or a mapping",
    ),
    (
        "builtin:shapes?rows=24",
        "{format: images}",
        "2: source.uri: this must be given: file, folder, glob or fsspec URI; or builtin:shapes",
    ),
    (
        "source: builtin:shapes?rows=24\n",
        "",
        "1: source: this must be given: the dataset to read, or its URI",
    ),
    ("part_rows: 8", "partrows: 8", "10: sink.partrows: there is no option 'partrows'; did you mean 'part_rows'?"),
    ("part_rows: 8", "part_rows: 0", "10: sink.part_rows: 0 won't do; write 1 or more"),
    (
        "num_beams: 3",
        "num_beans: 3",
        "4: steps.0.caption.num_beans: there is no option 'num_beans'; did you mean 'num_beams'?",
    ),
    ("num_beams: 3", "num_beams: many", '4: steps.0.caption.num_beams: "many" won\'t do; write a whole number'),
    ("num_beams: 3", "num_beams: 0", "4: steps.0.caption.num_beams: 0 won't do; write 1 or more"),
    (
        "num_beams: 3",
        "sampling: {top: 3}",
        "4: steps.0.caption.sampling.top: there is no option 'top'; did you mean 'top_p'?",
    ),
    (
        "num_beams: 3",
        "num_beams: 3, sampling: {}",
        "4: steps.0.caption: sampling and num_beams above 1 exclude each other",
    ),
    (
        "{column: caption}",
        "{colum: caption}",
        "6: steps.1.generate.prompt.colum: there is no option 'colum'; did you mean 'column'?",
    ),
    (
        "{column: caption}",
        "3",
        "6: steps.1.generate.prompt: 3 won't do; write text, in quotes if need be or {column: NAME}",
    ),
    ("steps: 20", "steps: 0", "7: steps.1.generate.steps: 0 won't do; write 1 or more or {column: NAME}"),
    (
        "steps: 20",
        "scheduler: eulr",
        "7: steps.1.generate.scheduler: there is no scheduler 'eulr'; did you mean 'euler'",
    ),
    (
        "steps: 20",
        "model: builtin:sd",
        "7: steps.1.generate.model: there is no built-in model 'builtin:sd'; there are 'builtin:stable-diffusion'",
    ),
    ("steps: 20", "model: sd15", "7: steps.1.generate.model: 'sd15' is no model: give `builtin:NAME`, a hub id as"),
    ("steps: 20", "model: ./nowhere", "5: steps.1.generate: there is no folder './nowhere'; give a model's folder"),
    ("- caption: {num_beams: 3}", "- capton", "4: steps.0: there is no operator 'capton'; did you mean 'caption'?"),
    (
        "steps: 20",
        "controls: [{sega: {concepts: [{prompt: red}]}}, {segga: {}}]",
        "7: steps.1.generate.controls.1: there is no control 'segga'; did you mean 'sega'?",
    ),
    (
        "steps: 20",
        "controls: [3]",
        "7: steps.1.generate.controls.0: a control is one word with its options, as in `sag:",
    ),
    (
        "steps: 20",
        "controls: [{sega: {concepts: [{promt: red}]}}]",
        "7: steps.1.generate.controls.0.sega.concepts.0.promt: there is no option 'promt'; did you mean 'prompt'?",
    ),
    (
        "steps: 20",
        "controls: [sega]",
        "7: steps.1.generate.controls.0.sega.concepts: this must be given: what to move along",
    ),
    ("- caption: {num_beams: 3}", "- 3", "4: steps.0: a step is one operator with its options, as in `caption:"),
    (
        "- caption: {num_beams: 3}",
        "- caption:\n    num_beams: 3",
        "4: steps.0: a step is one operator with its options",
    ),
    ("- caption: {num_beams: 3}", "- caption: [3]", "4: steps.0.caption: [3] won't do; write a mapping with model or"),
    ("seed: 3", "seed: 1.5", "11: seed: 1.5 won't do; write a whole number"),
    ("1%", "x%", "12: max_rejects: 'x%' is no number of rows; write one, or a percentage such as 1%"),
    ("1%", "-1", "12: max_rejects: -1 won't do; write 0 or more or text"),
    (
        "default: {batch_rows: 4}",
        "default: {batchrows: 4}",
        "14: resources.default.batchrows: there is no option 'batchrows'; did you mean 'batch_rows'?",
    ),
    (
        "actors: {min: 1, max: 2}",
        "actors: {min: 1, mx: 2}",
        "15: resources.generate.actors.mx: there is no option 'mx'; did you mean 'max'?",
    ),
    (
        "actors: {min: 1, max: 2}",
        "actors: {min: 3, max: 2}",
        "15: resources.generate.actors: min is 3, which is more than max, 2",
    ),
    ("actors: {min: 1, max: 2}", "actors: 0", "15: resources.generate: actors must be at least 1"),
    (
        "  generate: {actors",
        "  genrate: {actors",
        "15: resources.genrate: there is no step 'genrate'; did you mean 'generate'?",
    ),
    (
        "{num_beams: 3}",
        "{num_beams: 3, output: x_1}",
        "5: steps.1.generate: there is no column 'caption'; there are 'im",
    ),
    ("{num_beams: 3}", "{output: shape}", "4: steps.0.caption: column 'shape' is there already; name another one with"),
    ("{column: caption}", "{column: x}", "5: steps.1.generate: column 'x' is double, but must hold text"),
    ("builtin:shapes?rows=24", "./nowhere", "2: source: ./nowhere: there is nothing here; check the path"),
    ("builtin:shapes?rows=24", "builtin:shapes?row=3", "2: source: builtin:shapes?row=3: row: "),
    ("builtin:shapes?rows=24", "s4://a/b", "2: source: s4://a/b: Protocol not known: s4; write a local path, or a URI"),
    ("seed: 3", "seed: 3\nseed: 4", "12: 'seed' is given twice; leave one out"),
    ("seed: 3", "seed: [3", "12: this is not YAML: "),
    ("seed: 3", "seed: !!python/name:x 3", "11: this is not YAML: could not determine a constructor"),
    ("seed: 3", "seed: 2026-02-31", " this is not YAML: day is out of range for month"),
]


@pytest.mark.parametrize(("text", "mistake", "line"), CHANGED, ids=[mistake for _, mistake, _ in CHANGED])
def test_a_mistake_is_one_line(tmp_path: Path, text: str, mistake: str, line: str) -> None:
    changed = GOOD.replace(text, mistake)
    assert changed != GOOD
    told = refused(tmp_path, changed)
    assert told.removeprefix("job.yaml:").startswith(line), told


def test_steps_in_impossible_order_name_the_step_that_is_missing(tmp_path: Path) -> None:
    told = refused(
        tmp_path,
        """
        source: builtin:shapes
        steps:
          - generate: {prompt: {column: caption}}
          - caption
        sink: out
        """,
    )
    assert told == (
        "job.yaml:3: steps.0.generate: column 'caption' is added by 'caption', which comes later (steps.1); "
        "put that step before this one"
    )


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ("from: cat, to: dog", ": give a `method`: pix2pix_zero, diffedit, img2img, inpaint, instruct, cycle"),
        ("method: pix2pix, from: cat, to: dog", ".method: there is no edit method 'pix2pix'; did you mean 'pix2pix_z"),
        (
            "method: pix2pix_zero, from: cat, to: dog, mask_maps: 3",
            ".mask_maps: option 'mask_maps' belongs to diffedit, not to pix2pix_zero",
        ),
        ("method: cycle, from_: cat, to: dog", ".from_: there is no option 'from_'; did you mean 'from'?"),
        ("method: cycle, from: cat, to: dog, strenth: 1", ".strenth: there is no option 'strenth'; did you mean 'str"),
        (
            "method: cycle, from: cat, to: dog, strength: 2",
            ".strength: 2 won't do; write 1.0 or less or {column",
        ),
        ("method: cycle, from: 3, to: dog", ".from: 3 won't do; write text, in quotes if need be or a mapping with wo"),
        ("method: cycle, from: cat, to: [3]", ".to.0: 3 won't do; write text, in quotes if need be or a mapping with"),
        ("method: cycle, from: {word: cat}, to: dog", ".from.sentences: this must be given: sentences about the"),
        ("method: cycle, from: {colum: x}, to: dog", ".from.colum: there is no option 'colum'; did you mean 'column'?"),
        ("method: cycle", ": say what to change with `from` and `to`, or give a `target_prompt`"),
        (
            "method: cycle, from: cat, to: dog, target_prompt: a dog",
            ": `target_prompt` stands in place of `from` and `to`: give one or the other",
        ),
        ("method: cycle, from: cat, to: [dog, dog]", ": to has 'dog' twice; rows would have the same id"),
        (
            "method: pix2pix_zero, from: cat, to: dog, scheduler: euler",
            ": pix2pix_zero is wrong with scheduler 'euler'; it takes ddim or DDIMScheduler",
        ),
    ],
)
def test_a_mistake_in_an_edit_is_one_line(tmp_path: Path, options: str, line: str) -> None:
    text = f"source: builtin:shapes\nsteps:\n  - caption\n  - edit: {{{options}}}\nsink: out\n"
    told = refused(tmp_path, text)
    assert told.startswith(f"job.yaml:4: steps.1.edit{line}"), told


@pytest.mark.parametrize("text", ["", "- a\n", "just words\n", "3\n"])
def test_what_is_no_mapping_is_no_job(tmp_path: Path, text: str) -> None:
    assert refused(tmp_path, text) == "job.yaml:1: a job file is a mapping with `source`, `steps` and `sink`"


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"nowhere.yaml: can't read the job file: No such file or directory; check"):
        JobFile.read(tmp_path / "nowhere.yaml")
    (tmp_path / "job.yaml").write_bytes(b"name: \xff\xfe")
    with pytest.raises(SpecError, match=r"job.yaml: this is not YAML: 'utf-8' codec can't decode"):
        JobFile.read(tmp_path / "job.yaml")


def test_values_can_be_set(tmp_path: Path) -> None:
    changes = ("source.limit=3", "steps.0.caption.num_beams=1", "sink.uri=x/y", "resources.caption.gpus=0.5", "seed=9")
    job = JobFile.read(written(tmp_path, GOOD.replace("{num_beams: 3}", "")), changes).job
    assert job.model_dump(mode="json")["source"]["limit"] == 3
    assert (job.steps[0].model_dump()["num_beams"], job.sink.uri, job.seed) == (1, "x/y", 9)
    assert job.resources["caption"].gpus == 0.5


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("seed", "--set seed: write it as a.b=value, as in sink.uri=out"),
        ("a..b=3", "--set a..b=3: write it as a.b=value"),
        ("seed=[", "--set seed=[: '[' is not a YAML value; quote it"),
        ("seed.x=3", "--set seed.x=3: there is no 'x' to set something in"),
        ("steps.7.caption.num_beams=3", "--set steps.7.caption.num_beams=3: there is no '7' to set something in"),
        ("sed=3", "--set sed=3: sed: there is no option 'sed'; did you mean 'seed'?"),
        ("seed=x", '--set seed=x: seed: "x" won\'t do; write a whole number'),
        ("steps.0.caption.num_beams=0", "--set steps.0.caption.num_beams=0: steps.0.caption.num_beams: 0 won't do"),
        ("steps.1.generate.prompt.column=capt", "job.yaml:5: steps.1.generate: there is no column 'capt'; there are"),
    ],
)
def test_a_value_that_cant_be_set_is_one_line(tmp_path: Path, change: str, line: str) -> None:
    assert refused(tmp_path, GOOD, change).startswith(line)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (SinkError("access is denied", "s3://x"), "job.yaml:8: sink: s3://x: access is denied"),
        (SourceError("it is gone", "a.parquet"), "job.yaml:2: source: a.parquet: it is gone"),
        (ColumnError("no", "steps.1.generate"), "job.yaml:5: steps.1.generate: no"),
        (ModelError("there is no model 'a/b' on the hub"), "job.yaml:1: there is no model 'a/b' on the hub"),
    ],
)
def test_what_goes_wrong_later_is_located_too(tmp_path: Path, error: UserError, line: str) -> None:
    file = JobFile.read(written(tmp_path, GOOD))
    with pytest.raises(type(error)) as caught, file.located():
        raise error
    assert str(caught.value).replace(f"{tmp_path}/", "") == line


def test_the_job_that_is_recorded_can_be_read_again(tmp_path: Path) -> None:
    job = JobFile.read(written(tmp_path, GOOD)).job
    recorded = tmp_path / "recorded.json"
    recorded.write_text(json.dumps(job.model_dump(mode="json")))
    assert JobFile.read(recorded).job == job

"""Sinks to export: of real steps over rendered scenes, made once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image

from jobs import Job
from jobs.export.options import Options
from jobs.export.run import Exported, export
from jobs.sink.holder import Holder
from operators import columns
from operators.images import encode_all
from operators.models.builtin import scenes
from tests.jobs import sinks

SCENES = 7
LOST = 3
"""A scene whose picture is missing."""

EDITS = 2 * (SCENES - 1)
"""Rows that a finished sink has."""

STEPS: list[Any] = [
    {"condition": {"method": "canny"}},
    {
        "edit": {
            "method": "inpaint",
            "from": {"column": "shape"},
            "to": ["star", "ellipse"],
            "steps": 1,
            "width": 64,
            "height": 64,
        }
    },
]


def source(rows: int = SCENES) -> pa.Table:
    drawn = [scenes.scene(number, 5) for number in range(rows)]
    pictures = encode_all(scenes.draw(drawn)).to_pylist()
    pictures[LOST] = None
    masks = encode_all([Image.fromarray(mask) for mask in scenes.masks(drawn)])
    return pa.table(
        {
            "image": pa.array(pictures, columns.IMAGE),
            "caption": [scene.caption for scene in drawn],
            "shape": [scene.shape for scene in drawn],
            "mask": masks,
        }
    )


def job(sink: Path, steps: list[Any] = STEPS, **options: Any) -> Job:
    return Job(name="shapes", source=source(), steps=steps, sink={"uri": str(sink), "part_rows": 3}, **options)


def finished(sink: Path) -> sinks.Run:
    """A sink as a job leaves it: rows, a reject, and the digests of what it ran with."""
    run = sinks.begun(job(sink, max_rejects=2))
    run.commit(range(len(run.plan.source.fragments)))
    for step in run.plan.steps:
        run.summary.weights |= step.spec.digests()
    run.record.tell(run.summary)
    run.end()
    return run


def gone() -> Holder:
    """A process that is no more."""
    here = Holder.here()
    return Holder(here.host, 2**22 + 1, here.process_started, here.boot, here.pid_namespace)


def exported(sink: Path, target: Path | str, preset: str = "instruct_pix2pix", **options: Any) -> Exported:
    how = {name: options.pop(name) for name in ("overwrite", "partial", "progress") if name in options}
    return export(str(sink), str(target), Options(preset=preset, **options), **how)

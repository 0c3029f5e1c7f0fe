"""What happens to rows: pure, tables in and tables out. Nothing here imports torch before a model is loaded."""

from operators.base import Column, Operator, Spec
from operators.caption import Caption
from operators.condition import METHODS as CONDITION_METHODS
from operators.condition import Condition
from operators.dedup import Dedup
from operators.edit import METHODS, Cycle, DiffEdit, Edit, Img2Img, Inpaint, Instruct, Pix2PixZero
from operators.filter import Filter
from operators.generate import Generate
from operators.invert import Invert
from operators.mark import Mark
from operators.pipeline import Pipeline
from operators.safety import Safety
from operators.score import Score

KINDS: dict[str, tuple[type[Spec], ...]] = {
    Caption.kind: (Caption,),
    Invert.kind: (Invert,),
    Edit.kind: METHODS,
    Generate.kind: (Generate,),
    Pipeline.kind: (Pipeline,),
    Safety.kind: (Safety,),
    Condition.kind: CONDITION_METHODS,
    Score.kind: (Score,),
    Filter.kind: (Filter,),
    Dedup.kind: (Dedup,),
    Mark.kind: (Mark,),
}
"""Every step by the word that stands for it in a job file; of several, the option `method` tells which."""

__all__ = [
    "KINDS",
    "Caption",
    "Column",
    "Condition",
    "Cycle",
    "Dedup",
    "DiffEdit",
    "Edit",
    "Filter",
    "Generate",
    "Img2Img",
    "Inpaint",
    "Instruct",
    "Invert",
    "Mark",
    "Operator",
    "Pipeline",
    "Pix2PixZero",
    "Safety",
    "Score",
    "Spec",
]

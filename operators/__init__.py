"""What happens to rows: pure, tables in and tables out. Nothing here imports torch before a model is loaded."""

from operators.base import Column, Operator, Spec
from operators.caption import Caption
from operators.generate import Generate

KINDS: dict[str, tuple[type[Spec], ...]] = {Caption.kind: (Caption,), Generate.kind: (Generate,)}
"""Every step by the word that stands for it in a job file; where there are several, their option `method` tells which."""

__all__ = ["KINDS", "Caption", "Column", "Generate", "Operator", "Spec"]

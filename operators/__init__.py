"""What happens to rows: pure, tables in and tables out. Nothing here imports torch before a model is loaded."""

from operators.base import Column, Operator, Spec
from operators.caption import Caption
from operators.generate import Generate

KINDS: dict[str, type[Spec]] = {spec.kind: spec for spec in (Caption, Generate)}
"""Every step by the word that stands for it in a job file."""

__all__ = ["KINDS", "Caption", "Column", "Generate", "Operator", "Spec"]

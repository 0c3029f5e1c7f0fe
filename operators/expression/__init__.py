"""Expressions over the columns of a row, as ``filter`` takes them: parsed, checked, and computed for whole tables."""

from operators.expression.expression import Expression
from operators.expression.functions import FUNCTIONS
from operators.expression.parser import written

__all__ = ["FUNCTIONS", "Expression", "written"]

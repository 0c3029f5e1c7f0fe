"""What every loaded step over a diffusion model has: its networks, and the values of its options row by row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa

from operators.base import Operator, values
from operators.diffusion.spec import DiffusionSpec
from operators.errors import ValueInvalidError
from operators.models.loading import pick_device

if TYPE_CHECKING:
    from torch import Tensor

S = TypeVar("S", bound=DiffusionSpec)
P = TypeVar("P")


class DiffusionOperator(Operator[S, P]):
    """A step over one diffusion model, loaded.

    Raises:
        ModelError: the model can't be had, is no Stable Diffusion, or takes other channels than the step can give.
    """

    def __init__(
        self, spec: S, step: str | None = None, batch_rows: int = 16, device: str | None = None, compiled: bool = False
    ) -> None:
        from operators.diffusion.family import load_family

        super().__init__(spec, step, batch_rows)
        self._family = load_family(
            spec.files(), pick_device(device), spec.precision, compiled, spec.extra_channels, spec.is_labelled
        )
        self._defaults: dict[str, Any] = {}

    def digests(self) -> dict[str, str]:
        """SHA-256 of the model's weights."""
        return {str(self.spec.model): self._family.digest}

    def _values(self, name: str, table: pa.Table) -> list[Any]:
        """An option's value in every row, or its default where it was left open."""
        option = getattr(self.spec, name)
        return values(self._defaults.get(name) if option is None else option, table)

    def _per_row(self, numbers: Sequence[float]) -> Tensor:
        import torch

        return torch.tensor(numbers, dtype=torch.float32, device=self._family.device)


def check_finite(given: dict[str, Any]) -> None:
    """Refuse numbers that are none.

    Raises:
        ValueInvalidError: one is NaN or infinite.
    """
    for name, value in given.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueInvalidError(f"{name} is {value}")

"""Other weights in a network's parameters, for a while."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import Tensor

Weights = Iterable[tuple[Tensor, Tensor]]
"""Parameters, and values of the same shape, dtype and device; an embedding's may have more rows."""


@contextmanager
def swapped(weights: Weights) -> Iterator[None]:
    """Let parameters hold other values while this lasts, and again their own at the end, whatever happens inside.

    Nothing is copied: a parameter is the same object throughout and only points elsewhere, so what has been made of
    the network before, as by ``torch.compile`` or by another such swap, goes on working.
    """
    pairs = list(weights)
    own = [parameter.data for parameter, _ in pairs]
    try:
        for parameter, values in pairs:
            parameter.data = values
        yield
    finally:
        for (parameter, _), before in zip(pairs, own, strict=True):
            parameter.data = before

"""What a pipeline draws from no generator that it is given: still the row's, and nobody else's."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def global_seed(seed: int, devices: Sequence[torch.device]) -> Iterator[None]:
    """Let the generators of Python, numpy and torch begin at a seed, and go on as before afterwards.

    Args:
        seed: 63 bits at the most.
        devices: whose generators are meant, beside the CPU's.
    """
    of_python, of_numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices):
        random.seed(seed)
        np.random.seed(seed % (1 << 32))
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(of_python)
            np.random.set_state(of_numpy)

"""How much of its card's memory a process takes."""

from __future__ import annotations

import sys

_CONTEXT_BYTES = 512 * 2**20
"""What a process takes of a card before anything is loaded; the allocator doesn't count it."""


def card_share() -> float | None:
    """The greatest share of its card's memory that this process has taken so far, 0..1; None where it uses no card."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    total: int = torch.cuda.get_device_properties(0).total_memory
    return min(1.0, float(torch.cuda.max_memory_reserved(0) + _CONTEXT_BYTES) / total)

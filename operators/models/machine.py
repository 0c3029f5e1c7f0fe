"""What networks compute on, as far as it decides their last bits."""

from __future__ import annotations

import platform
import sys
from functools import cache
from pathlib import Path

_PROCESSORS = Path("/proc/cpuinfo")


def machine() -> str | None:
    """The card, if this process uses one, or else the processor and its instructions; None without networks."""
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    if torch.cuda.is_initialized():
        return str(torch.cuda.get_device_name())
    return f"{processor()}, {torch.backends.cpu.get_cpu_capability()}"


@cache
def processor() -> str:
    """The processor's name."""
    lines = _PROCESSORS.read_text().splitlines() if _PROCESSORS.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()

"""What controls do to pictures of the built-in models is seen in the pixels, as docs/benchmarks.md has it of more."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "control_effects.py"


@pytest.mark.long
def test_controls_do_what_they_are_for() -> None:
    run = [sys.executable, str(BENCHMARK), "--quick", "--json"]
    told = subprocess.run(run, capture_output=True, text=True, check=True)
    figures = json.loads(told.stdout.splitlines()[-1])
    assert figures["sega_moved"] >= 0.9
    assert figures["sega_kept"] >= 0.8
    assert figures["panorama_seam"] < figures["panorama_seam_apart"]
    assert min(figures["controlnet_overlap"], figures["t2i_adapter_overlap"]) > 0.75 > figures["plain_overlap"] + 0.3

"""What all benchmarks share: the two options, and how figures are printed."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable
from typing import Any

# Ray then listens on loopback only, on Linux too; it reads this when it is imported.
os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")


def main(measure: Callable[..., dict[str, Any]], about: str | None, **arguments: dict[str, Any]) -> None:
    """Run ``measure(quick)`` and print its figures, as JSON in the last line if asked.

    Args:
        measure: takes what is asked for on the command line.
        about: what it measures.
        arguments: options of its own, by name, as for ``add_argument``.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--quick", action="store_true", help="the same, smaller: a minute or so on two cores")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    for name, how in arguments.items():
        parser.add_argument(f"--{name}", **how)
    options = vars(parser.parse_args())
    as_json = options.pop("json")
    figures = measure(**options)
    if as_json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:24} {value}")

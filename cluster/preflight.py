"""What a cluster is asked before a job goes there. It runs on the head node, where nothing but Ray may be installed.

``python3 -m cluster.preflight QUESTION`` prints the answer; both are JSON.
"""

from __future__ import annotations

import json
import os
import platform
import stat
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

PYTHON = "python"
"""Stands among requirements for the interpreter itself."""


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """Look around on this machine.

    Args:
        question: ``requirements`` as pip writes them, ``variables`` of the environment, ``paths`` with their marks.

    Returns:
        ``lacking``: what there is instead of each requirement that is not met, None for nothing; ``unset``: the
        variables that are not set; ``elsewhere``: the paths that lead to something else here.
    """
    found = {requirement: _found(Requirement(requirement)) for requirement in question["requirements"]}
    return {
        "lacking": {requirement: there for requirement, there in found.items() if not _met(requirement, there)},
        "unset": [name for name in question["variables"] if name not in os.environ],
        "elsewhere": [path for path, given in question["paths"].items() if mark(path) != given],
    }


def mark(path: str) -> list[int] | None:
    """What tells a file or folder from all others, by whatever machine it is seen; None where there is none."""
    try:
        found = Path(path).stat()
    except OSError:
        return None
    # A folder's times change whenever somebody writes into it.
    return [found.st_ino, 0 if stat.S_ISDIR(found.st_mode) else found.st_ctime_ns]


def _found(requirement: Requirement) -> str | None:
    if requirement.name == PYTHON:
        return platform.python_version()
    try:
        return version(requirement.name)
    except PackageNotFoundError:
        return None


def _met(requirement: str, there: str | None) -> bool:
    return there is not None and Requirement(requirement).specifier.contains(there, prereleases=True)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(answer(json.loads(sys.argv[1]))))

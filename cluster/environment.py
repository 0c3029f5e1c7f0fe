"""What a job has here and needs on a cluster: the code, and packages in their versions."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from importlib.util import find_spec
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from cluster.preflight import PYTHON
from operators.errors import ClusterError

PACKAGES = ("operators", "cluster", "jobs")
"""The packages that Latentmill is made of."""

NEVER_INSTALLED = (PYTHON, "ray")
"""What a cluster must have in the right version itself: nothing can be installed without it."""

_US = "latentmill"


class Packages(StrEnum):
    """How the packages that Latentmill needs get to a cluster."""

    AUTO = "auto"
    """They are installed where the cluster's own don't do."""
    IMAGE = "image"
    """The cluster has them."""
    PIP = "pip"
    UV = "uv"


def requirements(extras: Iterable[str] = ()) -> list[str]:
    """What Latentmill needs, as pip writes it, Python first.

    Args:
        extras: the optional parts that are used, as in ``s3``.

    Raises:
        ClusterError: it runs here without being installed, so this is not known.
    """
    try:
        own = metadata(_US)
    except PackageNotFoundError as error:
        raise ClusterError(
            "Latentmill is not installed here, so what it needs is not known; `pip install .` in its folder"
        ) from error
    return [f"{PYTHON}{own['Requires-Python'] or ''}", *map(_bare, _required(_US, {"", *extras}))]


def pinned(needed: Iterable[str]) -> list[str]:
    """Requirements, and all that they require, as ``name==version`` of what is installed here.

    Ray and what only Ray needs are left out: a cluster has its own. So is what is not installed here, as a package for
    another platform.
    """
    pins: dict[str, str] = {}
    waiting = [Requirement(requirement) for requirement in needed]
    seen: set[tuple[str, str]] = set()
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        extras = {"", *wanted.extras}
        new = {extra for extra in extras if (name, extra) not in seen}
        seen |= {(name, extra) for extra in new}
        if name in NEVER_INSTALLED or not new:
            continue
        try:
            # What follows a + tells of a build, such as one without CUDA, that an index may not have.
            pins[name] = f"{name}=={Version(version(name)).public}"
        except PackageNotFoundError:
            continue
        waiting += _required(name, new)
    return [pins[name] for name in sorted(pins)]


def copy_code(folder: Path, packages: Iterable[str] = PACKAGES) -> list[str]:
    """Copy packages as they are imported here, without what Python compiled of them.

    Args:
        folder: where to.
        packages: which of Latentmill's.

    Returns:
        A folder for each.
    """
    copies = []
    for name in packages:
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(name=name)
        copy = shutil.copytree(Path(spec.origin).parent, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        copies.append(str(copy))
    return copies


def _required(name: str, extras: Iterable[str]) -> Iterator[Requirement]:
    for line in requires(name) or ():
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras):
            yield requirement


def _bare(requirement: Requirement) -> str:
    """A requirement without the condition under which it is one."""
    extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
    return f"{requirement.name}{extras}{requirement.specifier}"

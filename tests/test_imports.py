"""Who may import whom, what only the command line may do, read from the source itself."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OURS = ("operators", "cluster", "jobs")
FILES = sorted(path for package in OURS for path in (ROOT / package).rglob("*.py"))
COMMANDS = {
    ROOT / "jobs" / "cli.py",
    *(ROOT / "jobs" / "commands").glob("*.py"),
    ROOT / "cluster" / "preflight.py",  # a command too: it runs where the command line can't start yet
}
READS_A_KEY = ROOT / "operators" / "marks" / "signing.py"
"""A private key may be in a variable of the worker's environment, and is read nowhere else."""
CLUSTER_MAY = ("operators.base", "operators.errors", "operators.columns", "operators.models.ref")
NETWORKS = ("torch", "diffusers", "transformers")


def imported(tree: ast.AST) -> Iterator[str]:
    """Every module that is imported anywhere in a file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(module: str, names: tuple[str, ...]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_imports_only_what_it_may(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    modules = list(imported(ast.parse(path.read_text())))
    ours = [module for module in modules if within(module, OURS)]
    allowed = {"operators": ("operators",), "cluster": ("cluster", *CLUSTER_MAY), "jobs": OURS}[package]
    assert not [module for module in ours if not within(module, allowed)]
    assert not [module for module in modules if within(module, ("tests", "training", "benchmarks"))]
    if package == "operators":
        assert not [module for module in modules if within(module, ("ray",))]
    else:
        assert not [module for module in modules if within(module, NETWORKS)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_only_the_command_line_prints_or_reads_the_environment(path: Path) -> None:
    if path in COMMANDS:
        return
    calls = {ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)}
    names = {ast.unparse(node) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
    assert not calls & {"print", "click.echo"}
    assert path == READS_A_KEY or not names & {"os.environ", "os.getenv"}


@pytest.mark.parametrize(
    "package", ["operators", "jobs", "jobs.jobfile", "jobs.submission", "cluster", "cluster.placement"]
)
def test_nothing_heavy_comes_with_an_import(package: str) -> None:
    code = f"import sys, {package}; print([name for name in {(*NETWORKS, 'ray')} if name in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert told.stdout == "[]\n"

"""Imports go one way, and every outside library has one owner."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "lab").rglob("*.py"))

# From the bottom up: a layer imports from those before it, never from those after it.
LAYERS = (
    ("__init__", "__version__"),
    ("artifacts", "data", "errors", "paths", "rundir", "signals"),
    ("machine", "pci"),
    ("model",),
    ("plan",),
    ("evidence",),
    ("events",),
    ("qmp",),
    ("images",),
    ("labhost",),
    ("host",),
    ("guest",),
    ("probe",),
    ("execute", "inside"),
    ("here",),
    ("report",),
    ("results", "record", "saved"),
    ("places",),
    ("run", "runs", "doctor"),
    ("batch", "ladder"),
    ("cli",),
    ("__main__",),
)

OWNERS = {
    "cyclopts": ("lab.cli",),
    "jinja2": ("lab.model", "lab.report.html"),
    "markupsafe": ("lab.report.html",),
    "pygal": ("lab.report.html",),
    "pyroute2": ("lab.host",),
    "qemu": ("lab.qmp",),
    "rich": (
        "lab.cli",
        "lab.report.ladder_terminal",
        "lab.report.screen",
        "lab.report.terminal",
        "lab.report.trace.table",
    ),
    "ruamel": ("lab.model",),
    "scapy": ("lab.probe",),
}

LATE = {"lab.places": "lab.here."}
"""Who may import what inside a function, for the time that it takes."""


def module(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts)


def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(), str(file))


def imported(file: Path) -> Iterator[str]:
    """Full names of all that a file imports, wherever the statement stands."""
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rank(name: str) -> int:
    """The layer of a module of the lab."""
    part = (*name.split("."), "__init__")[1]
    return next(index for index, layer in enumerate(LAYERS) if part in layer)


@pytest.mark.parametrize("file", FILES, ids=module)
def test_imports_go_one_way(file: Path) -> None:
    upwards = {
        name
        for name in imported(file)
        if name.startswith("lab.") and rank(name) > rank(module(file))
    }
    assert not upwards


@pytest.mark.parametrize("file", FILES, ids=module)
def test_libraries_have_one_owner(file: Path) -> None:
    strays = {
        name
        for name in imported(file)
        if (owners := OWNERS.get(name.split(".")[0])) and not module(file).startswith(owners)
    }
    assert not strays


@pytest.mark.parametrize("file", FILES, ids=module)
def test_nobody_sleeps(file: Path) -> None:
    """Readiness is waited for; a sleep is a guess."""
    assert "time.sleep" not in set(imported(file))
    calls = (node for node in ast.walk(tree(file)) if isinstance(node, ast.Attribute))
    assert not [call for call in calls if ast.unparse(call) == "time.sleep"]


@pytest.mark.parametrize("file", FILES, ids=module)
def test_imports_stand_at_the_top(file: Path) -> None:
    """An import inside a function hides a dependency, or dodges a cycle."""
    for node in ast.walk(tree(file)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inner = [
                part.module if isinstance(part, ast.ImportFrom) else ""
                for part in ast.walk(node)
                if isinstance(part, ast.Import | ast.ImportFrom)
            ]
            allowed = LATE.get(module(file))
            assert all(allowed and name and name.startswith(allowed) for name in inner), node.name

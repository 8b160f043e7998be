"""Sessions that set up all they need: ``lab-NAME`` runs a topology, ``tests`` runs all tests.

There is one session ``lab-NAME`` for every ``topologies/NAME.yaml``; what follows ``--`` goes to
``lab run``, or to pytest.
"""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path

import nox

ROOT = Path(__file__).parent
PROJECT = ROOT / "pyproject.toml"

nox.needs_version = ">=2024.4.15"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["tests"]
nox.options.error_on_external_run = True


@nox.session
def tests(session: nox.Session) -> None:
    """Linters, types and every test, those that start lab hosts too."""
    set_up(session, "lint", "types", "tests")
    check_style(session)
    session.run("mypy")
    session.run("pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style only."""
    set_up(session, "lint")
    check_style(session)


@nox.session
def types(session: nox.Session) -> None:
    """Types only."""
    set_up(session, "types")
    session.run("mypy", *session.posargs)


def check_style(session: nox.Session) -> None:
    """Ruff's opinion of everything; nothing is changed."""
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


def set_up(session: nox.Session, *groups: str) -> None:
    """Install the project, editable, with dependency groups; nothing where nothing changed."""
    stamp = Path(session.virtualenv.location) / "hoplab-installed"
    wanted = " ".join((hashlib.sha256(PROJECT.read_bytes()).hexdigest(), str(ROOT), *groups))
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    session.install("--quiet", "-e", str(ROOT), *requirements(groups))
    stamp.write_text(wanted)


def requirements(groups: tuple[str, ...]) -> list[str]:
    """What the dependency groups (PEP 735) name; old versions of pip cannot read them."""
    table = tomllib.loads(PROJECT.read_text())["dependency-groups"]
    return sorted({requirement for group in groups for requirement in table[group]})


def add_topology(name: str) -> None:
    """Define the session of one topology."""

    @nox.session(name=f"lab-{name}")
    def lab(session: nox.Session) -> None:
        set_up(session)
        session.run("lab", "run", name, *session.posargs)

    lab.__doc__ = f"Run topology {name} with all its proofs."


@nox.session(name="lab-all")
def lab_all(session: nox.Session) -> None:
    """Run all topologies; one table at the end."""
    set_up(session)
    session.run("lab", "all", *session.posargs)


@nox.session
def ladder(session: nox.Session) -> None:
    """Run all layers in turn and show what each takes out of the path."""
    set_up(session)
    session.run("lab", "ladder", *session.posargs)


for path in sorted((ROOT / "topologies").glob("*.yaml")):
    add_topology(path.stem)

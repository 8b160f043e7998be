"""Where the project's data lies: beside the package in a checkout, inside it when installed."""

from __future__ import annotations

import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def python_path() -> str:
    """PYTHONPATH for a Python of ours that is to import this very package."""
    return os.pathsep.join(filter(None, (str(_PACKAGE.parent), os.environ.get("PYTHONPATH", ""))))


def topologies() -> Path:
    """The folder of the topology files that come with the lab."""
    return _folder("topologies")


def images() -> Path:
    """The folder that says what lab host and guest are made of."""
    return _folder("images")


def nearest(path: Path) -> Path:
    """The path, or the nearest folder above it that is there, as far as we may look."""
    absolute = path.absolute()
    # Path.exists raises where a folder on the way may not be entered.
    return next(each for each in (absolute, *absolute.parents) if os.path.exists(each))  # noqa: PTH110


def _folder(name: str) -> Path:
    installed = _PACKAGE / "_data" / name
    return installed if installed.is_dir() else _PACKAGE.parent / name

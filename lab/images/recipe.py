"""What images are made of: the data files under ``images/``, read strictly, and their digests."""

from __future__ import annotations

import hashlib
import importlib.metadata
import tomllib
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict

import lab

BUILDER = 1
"""Counts changes of the build itself that give other images from the same recipe."""

NAMES = ("guest", "labhost")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Suite(_Frozen):
    """``images/debian.toml``: the Debian suite and what is left out of it."""

    suite: str
    components: tuple[str, ...]
    tools: tuple[str, ...]
    assumed: tuple[str, ...]


class Recipe(_Frozen):
    """``images/NAME/recipe.toml``; paths are relative to the root of the unpacked packages."""

    packages: tuple[str, ...]
    modules: tuple[str, ...]
    programs: tuple[str, ...] = ()
    vendored: tuple[str, ...] = ()
    boot_modules: tuple[str, ...] = ()
    prune: tuple[str, ...] = ()
    tree_programs: tuple[str, ...] = ()
    tree_data: tuple[str, ...] = ()


def folder() -> Path:
    """Where the recipes are: inside an installed package, or beside it in a checkout."""
    package = Path(lab.__file__).parent
    installed = package / "_data" / "images"
    return installed if installed.is_dir() else package.parent / "images"


@cache
def suite() -> Suite:
    """The suite that all images come from."""
    return Suite.model_validate(tomllib.loads((folder() / "debian.toml").read_text()))


@cache
def recipe(name: str) -> Recipe:
    """The recipe of one image."""
    return Recipe.model_validate(tomllib.loads((folder() / name / "recipe.toml").read_text()))


@cache
def digest(name: str) -> str:
    """Digest of everything of ours that goes into an image; the guest is a part of the lab host."""
    files = {"debian.toml": folder() / "debian.toml"}
    files |= {str(p.relative_to(folder())): p for p in _files(folder() / name)}
    if name == "labhost":
        files |= {"lab/labhost/frames.py": Path(lab.__file__).parent / "labhost" / "frames.py"}
    for distribution in recipe(name).vendored:
        files |= vendored(distribution)
    total = hashlib.sha256(f"builder {BUILDER}\n".encode())
    for key in sorted(files):
        total.update(f"{key} {hashlib.sha256(files[key].read_bytes()).hexdigest()}\n".encode())
    if name == "labhost":
        total.update(digest("guest").encode())
    return total.hexdigest()


def vendored(distribution: str) -> dict[str, Path]:
    """The Python files of an installed distribution: path under dist-packages -> file."""
    files = importlib.metadata.files(distribution) or ()
    return {
        str(path): Path(str(path.locate()))
        for path in files
        if path.suffix == ".py" and ".." not in path.parts
    }


def _files(top: Path) -> list[Path]:
    return [p for p in top.rglob("*") if p.is_file() and "__pycache__" not in p.parts]

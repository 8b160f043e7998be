"""``lab images``: what lab hosts and guests are made of."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from cyclopts import App, Parameter
from pydantic import TypeAdapter
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from lab.cli.options import Json, flag
from lab.errors import LabError
from lab.events import Stage
from lab.images import cache, recipe
from lab.images.build import ensure
from lab.images.image import Manifest
from lab.report.screen import Screen

app = App(
    name="images",
    help="What lab hosts and guests are made of: build, list, verify or prune.",
    default_parameter=Parameter(negative=()),
)


@app.command
def build(
    *,
    refresh: Annotated[bool, flag("Look for newer packages first.")] = False,
) -> int:
    """Build the images unless they are there."""
    with Screen(Console()) as screen:
        for name in recipe.NAMES:
            with _stage(screen, name):
                ensure(name, screen, refresh=refresh)
            refresh = False  # one build makes both
    return 0


def build_images(screen: Screen) -> None:
    """Build them where they are missing, as one stage."""
    with _stage(screen, "images"):
        for name in recipe.NAMES:
            ensure(name, screen)


@app.command(name="list")
def list_(*, json: Json = False) -> int:
    """List the images in the cache; with --json also every package in them."""
    images = cache.list_images()
    if json:
        manifests = tuple(image.manifest for image in images)
        print(TypeAdapter(tuple[Manifest, ...]).dump_json(manifests, indent=2).decode())
        return 0
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("image", "digest", "size", "kernel", "packages", "built"):
        table.add_column(title, no_wrap=True)
    for image in images:
        made = image.manifest
        built = made.created[:16].replace("T", " ")
        size, packages = decimal(image.bytes), str(len(made.packages))
        table.add_row(made.name, made.digest[:12], size, made.kernel, packages, built)
    Console().print(table)
    return 0


@app.command
def verify() -> int:
    """Hash every file of every image; exit status 1 if one is not as it was built."""
    findings = cache.verify()
    for finding in findings:
        print(f"{finding.folder.name}: {finding.problem or 'ok'}")
    return int(any(finding.problem for finding in findings))


@app.command
def prune(
    *,
    all_: Annotated[bool, Parameter(name="--all"), flag("Remove the whole cache.")] = False,
) -> int:
    """Remove downloads and images that no current recipe asks for."""
    with Screen(Console(stderr=True)) as screen:
        freed = _remove_all(screen) if all_ else cache.prune(screen)
    print(f"freed {decimal(freed)}")
    return 0


def _remove_all(screen: Screen) -> int:
    """Everything that the lab keeps, snapshots too; waits for a build that is under way."""
    top = cache.default().top
    if not os.path.lexists(top):
        return 0
    with cache.default().locked(screen):
        size = cache.size(top)
        try:
            shutil.rmtree(top)
        except OSError as error:
            raise LabError(f"{error.filename} cannot be removed: {error.strerror}") from error
    return size


@contextmanager
def _stage(screen: Screen, name: str) -> Iterator[None]:
    began = time.monotonic()
    screen.event(Stage(name=name))
    yield
    screen.event(Stage(name=name, seconds=time.monotonic() - began))

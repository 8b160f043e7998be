"""Building the images: one screen of phases, under the cache's lock.

Both images come from one tree of unpacked packages, so one build makes both.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from importlib.metadata import version as installed_version
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from lab.errors import CannotError
from lab.images import cache as caches
from lab.images import guest, kernel, labhost, recipe, sources
from lab.images.apt import Apt
from lab.images.cache import Cache
from lab.images.failure import disk_full, is_disk_full
from lab.images.image import Image
from lab.images.package import Package
from lab.images.progress import Progress
from lab.images.tree import Tree

# Unpacked packages, images and scratch files, as a multiple of the packages' size (measured: 3.3
# with Debian 13's kernel 6.12).
_SPACE_FACTOR = 4

Resolution = Mapping[str, tuple[Package, ...]]
_RESOLUTION = TypeAdapter(dict[str, tuple[Package, ...]])


def ensure(
    name: str, progress: Progress, *, refresh: bool = False, cache: Cache | None = None
) -> Image:
    """The image ``name`` for the current recipe, built if need be.

    ``refresh`` asks the mirror for newer packages first; otherwise neither the network nor apt is
    touched while a sound image is there. Raises CannotError without a mirror, network or disk
    space, StartError when a build program fails.
    """
    cache = cache or caches.default()
    image = None if refresh else cache.find(name, recipe.digest(name))
    return image or _build(name, progress, cache, refresh=refresh)


def _build(name: str, progress: Progress, cache: Cache, *, refresh: bool) -> Image:
    try:
        with cache.locked(progress) as work:
            # Another build may have finished while this one waited for the lock.
            image = None if refresh else cache.find(name, recipe.digest(name))
            if image is None:
                cache.discard_unsound(name, recipe.digest(name))
            return image or _build_all(work, cache, progress, refresh=refresh)[name]
    except OSError as error:
        if is_disk_full(error):
            raise disk_full("the image build", cache.top) from error
        raise


def _build_all(work: Path, cache: Cache, progress: Progress, *, refresh: bool) -> dict[str, Image]:
    resolution = _packages(work / "apt", cache, progress, refresh=refresh)
    progress.stage("unpack packages")
    tree = Tree(work / "tree")
    tree.unpack([cache.packages / p.file for p in _union(resolution)])
    release = kernel.version(tree)
    for name in recipe.NAMES:
        (work / name).mkdir()
    progress.stage("make the guest image")
    guest.make(tree, work / "guest", work / "guest-root")
    progress.stage("make the lab host image")
    labhost.make(tree, work / "guest", work / "labhost", work / "labhost-scratch")
    progress.stage("store the images")
    return {name: _store(name, work, cache, resolution, release) for name in recipe.NAMES}


def _store(name: str, work: Path, cache: Cache, resolution: Resolution, release: str) -> Image:
    vendored = {dist: installed_version(dist) for dist in recipe.recipe(name).vendored}
    manifest = caches.describe(work / name, name, release, resolution[name], vendored)
    return cache.add(work / name, manifest)


def _packages(top: Path, cache: Cache, progress: Progress, *, refresh: bool) -> Resolution:
    """Verified package files of the last resolution, or of a new one."""
    resolution = None if refresh else _last_resolution(cache)
    if resolution and not _unsound(resolution, cache):
        return resolution
    progress.stage("read package indexes")
    suite = recipe.suite()
    mirror = sources.find(os.environ)
    apt = Apt(top, cache.packages)
    apt.prepare(
        sources.source_lines(mirror, suite.suite, suite.components, sources.keyring()),
        suite.assumed,
    )
    apt.update()
    resolution = {name: apt.resolve(_names(name)) for name in recipe.NAMES}
    _download(apt, resolution, cache, progress)
    text = _RESOLUTION.dump_json(dict(resolution))
    cache.resolution.write_text(json.dumps({"wanted": _wanted(), "packages": json.loads(text)}))
    return resolution


def _download(apt: Apt, resolution: Resolution, cache: Cache, progress: Progress) -> None:
    # apt takes a file that is there already by its size alone.
    for package in _unsound(resolution, cache):
        (cache.packages / package.file).unlink(missing_ok=True)
    wanted = {package.file for package in _union(resolution)}
    for old in cache.packages.glob("*.deb"):
        if old.name not in wanted:
            old.unlink()
    total = sum(package.bytes for package in _union(resolution))
    if shutil.disk_usage(cache.top).free < total * (1 + _SPACE_FACTOR):
        raise disk_full(f"the image build ({total * (1 + _SPACE_FACTOR) >> 20} MiB)", cache.top)
    progress.stage("download packages")
    apt.download(_union(resolution), progress)
    damaged = _unsound(resolution, cache)
    if damaged:
        raise CannotError(f"{damaged[0].file} is not what the signed package index says")


def _last_resolution(cache: Cache) -> Resolution | None:
    try:
        record = json.loads(cache.resolution.read_text())
        if record["wanted"] != _wanted():
            return None
        return _RESOLUTION.validate_python(record["packages"])
    except (OSError, ValueError, KeyError, TypeError, ValidationError):
        return None


def _wanted() -> dict[str, list[str]]:
    """What a resolution answers: another question needs another one."""
    suite = recipe.suite()
    question = {name: list(_names(name)) for name in recipe.NAMES}
    mirror = os.environ.get(sources.VARIABLE, "")
    return {**question, "suite": [suite.suite, mirror], "assumed": list(suite.assumed)}


def _names(image: str) -> tuple[str, ...]:
    tools = recipe.suite().tools if image == "labhost" else ()
    return (*recipe.recipe(image).packages, *tools)


def _union(resolution: Resolution) -> list[Package]:
    return list({p.file: p for packages in resolution.values() for p in packages}.values())


def _unsound(resolution: Resolution, cache: Cache) -> list[Package]:
    """Packages whose file is missing or not what apt's signed index named."""
    return [p for p in _union(resolution) if not _is_sound(cache.packages / p.file, p)]


def _is_sound(path: Path, package: Package) -> bool:
    try:
        same_size = path.stat().st_size == package.bytes
    except FileNotFoundError:
        return False
    return same_size and caches.sha256(path) == package.sha256

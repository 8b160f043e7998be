"""The cache of images: one folder each, checked before every use, changed only under a lock.

    XDG_CACHE_HOME/hoplab/
      images/NAME-RECIPE-DIGEST/   an image: its files and manifest.json, renamed here when complete
      packages/                    package files as downloaded, so that a rebuild needs no network
      resolution.json              which versions of which packages the last build used
      building/                    work of the build that holds the lock; stale without one
      lock                         flock: one build or clean-up at a time

A file whose stamp (inode, times, size) is the recorded one was not written since and is trusted;
otherwise its hash decides, and an image with any other content is removed, never used.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import platformdirs
from pydantic import ValidationError

from lab.images import recipe
from lab.images.image import FileRecord, Image, Manifest, Stamp
from lab.images.package import Package
from lab.images.progress import Progress

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Finding:
    """What checking an entry of the cache gave; ``problem`` is empty for a sound one."""

    folder: Path
    image: Image | None
    problem: str


@dataclass(frozen=True)
class Cache:
    """A cache folder; it need not exist yet."""

    top: Path

    @property
    def images(self) -> Path:
        """Where finished images are."""
        return self.top / "images"

    @property
    def packages(self) -> Path:
        """Where downloaded package files are."""
        return self.top / "packages"

    @property
    def resolution(self) -> Path:
        """The record of the last resolution."""
        return self.top / "resolution.json"

    @property
    def building(self) -> Path:
        """Where the build that holds the lock works."""
        return self.top / "building"

    def find(self, name: str, recipe_digest: str) -> Image | None:
        """The newest sound image of a recipe; unsound ones are removed on the way."""
        candidates = []
        for folder in self.images.glob(f"{name}-{recipe_digest[:12]}-*"):
            finding = check(folder)
            if finding.image is None:
                discard(folder)
            else:
                candidates.append(finding.image)
        return max(candidates, key=lambda image: image.manifest.created, default=None)

    def add(self, work: Path, manifest: Manifest) -> Image:
        """Make a finished work folder an image: on disk in full first, then renamed."""
        folder = self.images / _folder_name(manifest)
        for file in manifest.files:
            _sync(work / file)
        _write(work / MANIFEST, manifest.model_dump_json())
        self.images.mkdir(exist_ok=True)
        if folder.exists():
            discard(folder)
        work.rename(folder)
        _sync(self.images)
        return Image(folder=folder, manifest=manifest)

    @contextmanager
    def locked(self, progress: Progress) -> Iterator[Path]:
        """Hold the cache's lock; yields an empty work folder that is gone afterwards."""
        self.top.mkdir(parents=True, exist_ok=True)
        with (self.top / "lock").open("w") as lock:
            _acquire(lock.fileno(), progress)
            # Whoever left something here has no lock any more: it was interrupted.
            shutil.rmtree(self.building, ignore_errors=True)
            self.building.mkdir()
            try:
                yield self.building
            finally:
                shutil.rmtree(self.building, ignore_errors=True)


def default() -> Cache:
    """The user's cache."""
    return Cache(platformdirs.user_cache_path("hoplab"))


def list_images(cache: Cache | None = None) -> tuple[Image, ...]:
    """All sound images, by name, newest first."""
    found = [f.image for f in _findings(cache or default(), full=False) if f.image]
    newest_first = sorted(found, key=lambda image: image.manifest.created, reverse=True)
    return tuple(sorted(newest_first, key=lambda image: image.name))


def verify(cache: Cache | None = None) -> tuple[Finding, ...]:
    """Hash every file of every image."""
    return tuple(_findings(cache or default(), full=True))


def prune(progress: Progress, cache: Cache | None = None) -> int:
    """Remove downloads, unsound images and all but the newest of each current recipe.

    Returns the number of bytes freed. Waits for a build that is under way.
    """
    cache = cache or default()
    before = _bytes(cache.top)
    with cache.locked(progress):
        current = [cache.find(name, recipe.digest(name)) for name in recipe.NAMES]
        keep = {image.folder for image in current if image}
        for folder in cache.images.glob("*"):
            if folder not in keep:
                discard(folder)
        shutil.rmtree(cache.packages, ignore_errors=True)
    return before - _bytes(cache.top)


def check(folder: Path, *, full: bool = False) -> Finding:
    """Check one entry by its stamps, or (``full``) by its hashes.

    Files that carry another stamp and the right content, as after copying a cache, are recorded
    with the new stamp.
    """
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except (OSError, ValidationError) as error:
        return Finding(folder, None, f"no readable manifest: {str(error).splitlines()[0]}")
    if _folder_name(manifest) != folder.name or content_digest(manifest) != manifest.digest:
        return Finding(folder, None, "the manifest was altered")
    renewed = dict[str, FileRecord]()
    for file, record in manifest.files.items():
        problem, stamp = _check_file(folder / file, record, full=full)
        if problem:
            return Finding(folder, None, f"{file} {problem}")
        if stamp != record.stamp:
            renewed[file] = FileRecord(sha256=record.sha256, stamp=stamp)
    if renewed:
        manifest = manifest.model_copy(update={"files": manifest.files | renewed})
        _write(folder / MANIFEST, manifest.model_dump_json())
    return Finding(folder, Image(folder=folder, manifest=manifest), "")


def describe(
    work: Path, name: str, kernel: str, packages: tuple[Package, ...], vendored: Mapping[str, str]
) -> Manifest:
    """The manifest of a work folder: every file in it, hashed."""
    files = {
        str(path.relative_to(work)): FileRecord(sha256=sha256(path), stamp=Stamp.of(path))
        for path in sorted(work.rglob("*"))
        if path.is_file()
    }
    manifest = Manifest(
        name=name,
        recipe=recipe.digest(name),
        digest="",
        created=datetime.now(UTC).isoformat(timespec="microseconds"),
        kernel=kernel,
        packages=packages,
        vendored=dict(vendored),
        files=files,
    )
    return manifest.model_copy(update={"digest": content_digest(manifest)})


def content_digest(manifest: Manifest) -> str:
    """Digest of what an image is: its recipe, its packages and its files' content."""
    content = manifest.model_dump(include={"name", "recipe", "kernel", "packages", "vendored"})
    content["files"] = {file: record.sha256 for file, record in manifest.files.items()}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def sha256(path: Path) -> str:
    """Hash of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def discard(folder: Path) -> None:
    """Remove an entry; renamed first, so that no one finds it half removed."""
    doomed = folder.with_name(f".removed-{os.getpid()}-{folder.name}")
    folder.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _check_file(path: Path, record: FileRecord, *, full: bool) -> tuple[str, Stamp]:
    try:
        stamp = Stamp.of(path)
    except OSError:
        return "is missing", record.stamp
    if stamp == record.stamp and not full:
        return "", stamp
    if stamp.size != record.stamp.size:
        return f"has {stamp.size} bytes instead of {record.stamp.size}", stamp
    if sha256(path) != record.sha256:
        return "has other content than was built", stamp
    return "", stamp


def _findings(cache: Cache, *, full: bool) -> Iterable[Finding]:
    for folder in sorted(cache.images.glob("[!.]*")):
        yield check(folder, full=full)


def _folder_name(manifest: Manifest) -> str:
    return f"{manifest.name}-{manifest.recipe[:12]}-{manifest.digest[:16]}"


def _acquire(descriptor: int, progress: Progress) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        progress.stage("wait for another build")
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def _write(path: Path, text: str) -> None:
    """Replace a file in one step."""
    part = path.with_name(f".{path.name}-{os.getpid()}")
    part.write_text(text)
    _sync(part)
    part.replace(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _bytes(top: Path) -> int:
    return sum(path.lstat().st_size for path in top.rglob("*") if path.is_file())

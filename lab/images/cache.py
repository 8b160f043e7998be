"""The cache of images: one folder each, checked before every use, changed only under a lock.

    XDG_CACHE_HOME/hoplab/
      images/NAME-RECIPE-DIGEST/   an image: its files and manifest.json, renamed here when complete
      packages/                    package files as downloaded, so that a rebuild needs no network
      resolution.json              which versions of which packages the last build used
      building/                    work of the build that holds the lock; stale without one
      lock                         flock: one build or clean-up at a time

A file whose stamp (inode, times, size) is the recorded one was not written since and is trusted;
otherwise its hash decides, and an image with any other content is never used. The next build
removes it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import platformdirs
from pydantic import ValidationError

from lab.errors import CannotError
from lab.images import recipe
from lab.images.failure import disk_full, is_disk_full
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
        """The newest sound image of a recipe."""
        candidates = [finding.image for finding in self._check(name, recipe_digest)]
        sound = (image for image in candidates if image)
        return max(sound, key=lambda image: image.manifest.created, default=None)

    def discard_unsound(self, name: str, recipe_digest: str) -> None:
        """Remove the images of a recipe that are not what was built. Only inside `locked`."""
        for finding in self._check(name, recipe_digest):
            if finding.image is None:
                discard(finding.folder)

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
        """Hold the cache's lock; yields an empty work folder that is gone afterwards.

        Raises CannotError where the cache cannot be made.
        """
        with self._lock(progress):
            # Whoever left something here has no lock any more: it was interrupted.
            shutil.rmtree(self.building, ignore_errors=True)
            self.building.mkdir()
            try:
                yield self.building
            finally:
                shutil.rmtree(self.building, ignore_errors=True)

    def entries(self, pattern: str) -> list[Path]:
        """The folders of images. Raises CannotError where one may not look."""
        try:
            return sorted(self.images.glob(pattern))
        except OSError as error:
            raise _unusable(self.top, error) from error

    def _check(self, name: str, recipe_digest: str) -> list[Finding]:
        return [check(each) for each in self.entries(f"{name}-{recipe_digest[:12]}-*")]

    def _lock(self, progress: Progress) -> IO[str]:
        file = self.top / "lock"
        while True:
            lock = _opened(file)
            _acquire(lock.fileno(), progress)
            if _is(lock, file):
                return lock
            lock.close()  # the whole cache was removed while we waited


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
    with cache.locked(progress):
        before = size(cache.top)
        current = [cache.find(name, recipe.digest(name)) for name in recipe.NAMES]
        keep = {image.folder for image in current if image}
        for folder in cache.images.glob("*"):
            if folder not in keep:
                discard(folder)
        shutil.rmtree(cache.packages, ignore_errors=True)
        return before - size(cache.top)


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
        with suppress(OSError):  # only a short cut: the next one hashes again
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
        if stamp == record.stamp and not full:
            return "", stamp
        if stamp.size != record.stamp.size:
            return f"has {stamp.size} bytes instead of {record.stamp.size}", stamp
        if sha256(path) != record.sha256:
            return "has other content than was built", stamp
    except OSError:  # another clean-up may remove it while we read
        return "is missing", record.stamp
    return "", stamp


def _findings(cache: Cache, *, full: bool) -> Iterable[Finding]:
    for folder in cache.entries("[!.]*"):
        yield check(folder, full=full)


def _folder_name(manifest: Manifest) -> str:
    return f"{manifest.name}-{manifest.recipe[:12]}-{manifest.digest[:16]}"


def _opened(file: Path) -> IO[str]:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        return file.open("w")
    except OSError as error:
        raise _unusable(file.parent, error) from error


def _unusable(top: Path, error: OSError) -> CannotError:
    if is_disk_full(error):
        return disk_full("the images", top)
    return CannotError(
        f"the cache {top} cannot be used: {error.strerror}",
        hint="point XDG_CACHE_HOME at a folder of yours",
    )


def _is(file: IO[str], path: Path) -> bool:
    """Whether the open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


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


def size(top: Path) -> int:
    """Bytes of all files below; some of them come and go meanwhile."""
    total = 0
    for path in top.rglob("*"):
        with suppress(FileNotFoundError):
            status = path.lstat()
            total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return total

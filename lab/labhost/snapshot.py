"""Warm snapshots on disk: a lab host that has booted already, for one exact set of ingredients.

    snapshots/KEY/state          QEMU's migration file, sparse
    snapshots/KEY/record.json    its digest and stamp
    snapshots/KEY.new/           being made; renamed when complete
    snapshots/lock               held (flock(2)) by whoever makes one

``kept/`` is such a folder too, with what a lab host had said beside its state (`lab.labhost.kept`).

A state file whose stamp (inode, size, times) is the recorded one was not written since and is
trusted; otherwise its whole content is compared, and it is dropped where that differs.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from lab.images.image import FileRecord, Stamp
from lab.labhost.machine import Accelerator

_BLOCK = 1 << 20
_RECORD = "record.json"
_UNFINISHED = ".new"
_CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Ingredients:
    """Everything that a snapshot has to agree with; a change of any makes another key.

    ``qemu`` is the package version, ``machine`` QEMU's arguments (`MachineSpec.identity`),
    ``image`` the image's digest. ``host`` is empty under TCG; under KVM it is what shows inside.
    """

    qemu: str
    accelerator: Accelerator
    host: str
    machine: tuple[str, ...]
    image: str

    def key(self) -> str:
        """A name for the snapshot's folder."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]


def host_identity(accelerator: Accelerator) -> str:
    """What of this machine's CPU and kernel shows inside a lab host."""
    if accelerator is Accelerator.TCG:
        return ""
    wanted = ("vendor_id", "cpu family", "model", "model name", "stepping", "microcode", "flags")
    first = _CPUINFO.read_text().split("\n\n", 1)[0]
    lines = [line for line in first.splitlines() if line.split("\t")[0].strip() in wanted]
    return "\n".join((platform.release(), *lines))


def describe(state: Path) -> FileRecord:
    """Digest and stamp of a state file; reads all of it."""
    return FileRecord(sha256=sparse_digest(state), stamp=Stamp.of(state))


def sparse_digest(file: Path) -> str:
    """SHA-256 over size, places and content of all blocks that are not zero.

    Holes are skipped (lseek(2), SEEK_DATA): a state file is 2 GiB with a tenth of it used.
    """
    size = file.stat().st_size
    digest = hashlib.sha256(f"size {size}\n".encode())
    zero = bytes(_BLOCK)
    with file.open("rb", buffering=0) as stream:
        offset = _next_data(stream.fileno(), 0, size)
        while offset < size:
            block = os.pread(stream.fileno(), _BLOCK, offset)
            if block != zero[: len(block)]:
                digest.update(f"block {offset} {len(block)}\n".encode())
                digest.update(block)
            offset = _next_data(stream.fileno(), offset + _BLOCK, size)
    return digest.hexdigest()


def _next_data(fd: int, offset: int, size: int) -> int:
    """The start of the first block at or after ``offset`` that is not all hole."""
    try:
        return os.lseek(fd, offset, os.SEEK_DATA) // _BLOCK * _BLOCK if offset < size else size
    except OSError:
        return size  # ENXIO: nothing but a hole up to the end


@dataclass(frozen=True)
class Store:
    """The folder of all snapshots; the ``limit`` that were used last are kept."""

    folder: Path
    limit: int = 2

    def find(self, key: str, note: Callable[[str], None]) -> Path | None:
        """The state file of a snapshot that can be trusted; ``note`` hears why one was dropped."""
        folder = self.folder / key
        state = folder / "state"
        try:
            record = FileRecord.model_validate_json((folder / _RECORD).read_bytes())
            if record.stamp != Stamp.of(state):
                _examine(folder, record)
            os.utime(folder)  # the newest are kept
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            note(f"the lab host's snapshot is dropped: {error}")
            self.drop(key)
            return None
        return state

    @contextmanager
    def making(self) -> Iterator[str]:
        """Hold the right to make and remove snapshots; waits for another lab that has it.

        That wait ends: the other has deadlines, and its lock ends with it. Yields why nothing can
        be kept here, or the empty string.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = (self.folder / "lock").open("w")
        except OSError as error:
            yield f"{self.folder}: {error.strerror}"
            return
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield ""

    def add(self, key: str, write: Callable[[Path], None]) -> Path:
        """Make the snapshot: ``write`` writes the state file. Only inside `making`.

        Nothing partial stays behind, whatever ``write`` or the disk does; OSError may come out.
        """
        new = self.folder / f"{key}{_UNFINISHED}"
        shutil.rmtree(new, ignore_errors=True)
        try:
            new.mkdir(mode=0o700)
            write(new / "state")
            _write_record(new, describe(new / "state"))
            shutil.rmtree(self.folder / key, ignore_errors=True)
            new.rename(self.folder / key)
        finally:
            shutil.rmtree(new, ignore_errors=True)
        self._prune()
        return self.folder / key / "state"

    def drop(self, key: str) -> None:
        """Remove a snapshot; a lab host that is reading it keeps the open file."""
        shutil.rmtree(self.folder / key, ignore_errors=True)

    def _prune(self) -> None:
        """Keep the snapshots used last; an unfinished one was left by a lab that was killed."""
        folders = [each for each in self.folder.iterdir() if each.is_dir()]
        unfinished = [each for each in folders if each.suffix == _UNFINISHED]
        snapshots = [each for each in folders if each.suffix != _UNFINISHED]
        snapshots.sort(key=lambda each: each.stat().st_mtime_ns, reverse=True)
        for old in (*snapshots[self.limit :], *unfinished):
            shutil.rmtree(old, ignore_errors=True)


def _examine(folder: Path, record: FileRecord) -> None:
    """Compare the whole content with the record; where it is equal, renew the stamp."""
    fresh = describe(folder / "state")
    if fresh.sha256 != record.sha256:
        raise ValueError("its content is not what was saved")
    _write_record(folder, fresh)


def _write_record(folder: Path, record: FileRecord) -> None:
    temporary = folder / f"{_RECORD}.{os.getpid()}"
    temporary.write_text(record.model_dump_json())
    temporary.replace(folder / _RECORD)

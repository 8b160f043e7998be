"""The run folder: where one run keeps its state, private to the user and gone with the run.

It lies in the XDG runtime folder (XDG Base Directory Specification), or below the folder for
temporary files where there is no runtime folder to write to. A run holds a lock (flock(2)) on its
folder for as long as it lives, so the next run can tell what a dead one left.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

import platformdirs

from lab.errors import CannotError, LeftBehindError
from lab.signals import held

_LOCK = ".lock"
_PREFIX = "run-"
_ROOTS = Path("/run/hoplab")


@contextmanager
def open_rundir() -> Iterator[Path]:
    """Yield a new folder of mode 0700, unique to this run; it is removed at the end.

    Folders of runs that are dead are removed on the way. Raises CannotError when no place for run
    folders is safe to use, LeftBehindError when the folder cannot be removed.
    """
    base = _base()
    with ExitStack() as stack:
        # Ctrl-C waits until what was made is known to whoever removes it.
        with held(), _locked(base):
            _sweep(base)
            folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
            owner = _lock(folder)
            assert owner is not None
            stack.enter_context(owner)
            stack.callback(_close, base, folder)
        yield folder


def _close(base: Path, folder: Path) -> None:
    """Whoever sweeps meanwhile must not find the folder half removed.

    At the end of a session all of it may have been removed already.
    """
    with held(), suppress(FileNotFoundError), _locked(base):
        _remove(folder)


@contextmanager
def open_state(prefix: str) -> Iterator[Path]:
    """Yield a new folder of mode 0700 for what must be found again after SIGKILL.

    It stays at the end, unless it is empty: what is in it says what is still to be put back.
    """
    base = _state_base()
    with _locked(base):
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=base))
        owner = _lock(folder)
    assert owner is not None
    with owner:
        try:
            yield folder
        finally:
            with _locked(base):
                _forget(folder)


@contextmanager
def open_orphans(prefix: str) -> Iterator[tuple[Path, ...]]:
    """Yield the folders of `open_state` whose runs are dead; they go as they do there."""
    base = _state_base()
    with ExitStack() as stack:
        folders = []
        with _locked(base):
            for folder in sorted(base.glob(f"{prefix}*")):
                if owner := _lock(folder):
                    stack.enter_context(owner)
                    folders.append(folder)
        yield tuple(folders)
        with _locked(base):
            for folder in folders:
                _forget(folder)


def _forget(folder: Path) -> None:
    """Remove a folder that has nothing but its lock."""
    if [file.name for file in folder.iterdir()] == [_LOCK]:
        _remove(folder)


def _state_base() -> Path:
    """Where root's state is found from any session, whatever the environment names."""
    if os.geteuid() != 0:
        return _base()
    if refusal := _refusal(_ROOTS):
        raise CannotError(f"there is no safe place for what is to be put back: {refusal}")
    return _ROOTS


def _base() -> Path:
    """The first candidate that is ours alone; made when it is missing."""
    refusals = []
    for candidate in _candidates():
        refusal = _refusal(candidate)
        if not refusal:
            return candidate
        refusals.append(refusal)
    raise CannotError(
        f"there is no safe place for the run's state: {'; '.join(refusals)}",
        hint="set XDG_RUNTIME_DIR to a folder of yours with mode 0700",
    )


def _candidates() -> Iterator[Path]:
    with warnings.catch_warnings():
        # platformdirs warns when there is no runtime folder; the next candidate is our answer.
        warnings.simplefilter("ignore")
        with suppress(OSError):  # its own fall-back belongs to somebody else
            yield platformdirs.user_runtime_path("hoplab")
    yield _temporary() / f"hoplab-{os.geteuid()}"


def _temporary() -> Path:
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        raise CannotError(
            f"no folder takes temporary files: {error.strerror}",
            hint="make room on the disk, or set TMPDIR to a folder that you can write to",
        ) from error


def _refusal(folder: Path) -> str:
    """Why ``folder`` is not used; empty when it is. Anybody may have made it before us."""
    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        return f"{folder}: {error.strerror}"
    if not stat.S_ISDIR(status.st_mode):
        return f"{folder} is not a folder"
    if status.st_uid != os.geteuid():
        return f"{folder} belongs to user {status.st_uid}"
    if stat.S_IMODE(status.st_mode) & 0o077:
        return f"{folder} is open to others (mode {stat.S_IMODE(status.st_mode):04o})"
    if not os.access(folder, os.W_OK | os.X_OK):
        return f"{folder} cannot be written to"
    return ""


@contextmanager
def _locked(base: Path) -> Iterator[None]:
    """Hold the lock of the base folder, so that no one sweeps a folder that is not locked yet."""
    with (base / _LOCK).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _lock(folder: Path) -> IO[str] | None:
    """The folder's lock as an open file, or None when its run is alive."""
    file = (folder / _LOCK).open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _sweep(base: Path) -> None:
    """Remove what dead runs left. Nobody else makes or removes a folder meanwhile."""
    for folder in base.glob(f"{_PREFIX}*"):
        with suppress(FileNotFoundError):  # whatever cleans the system's temporary files was faster
            if owner := _lock(folder):
                with owner:
                    _remove(folder)


def _remove(folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except OSError as error:
        raise LeftBehindError(
            f"the run folder {folder} could not be removed: {error.strerror}",
            hint=f"rm -r {folder}",
        ) from error

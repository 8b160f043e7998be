"""The results folder: what stays of a run when everything else is gone."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from lab.errors import CannotError, StartError, UsageError

DEFAULT = Path("lab-results")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class ResultsFolder:
    """One run's results. The folder is made when its first file comes, never before."""

    def __init__(self, wanted: Path | None, topology: str) -> None:
        """``wanted`` is the user's choice; otherwise the folder is named after topology and time.

        Raises UsageError when no such folder can be made.
        """
        self.path = (wanted or fresh_folder(topology)).absolute()
        self.files: dict[str, str] = {}
        self._made: list[Path] = []
        existing = next(parent for parent in (self.path, *self.path.parents) if parent.exists())
        if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
            raise UsageError(
                f"results cannot be written to {self.path}: {existing} is no folder of yours",
                hint="name another one with --out DIR",
            )

    def write(self, name: str, content: bytes) -> None:
        """Write one file. Raises StartError for a name that would lie outside the folder,
        CannotError where the file cannot be written.
        """
        if not _NAME.fullmatch(name):
            raise StartError(f"an artifact has an impossible name: {name!r}")
        file = self.path / name
        try:
            self._make()
            self.files[name] = str(file)
            file.write_bytes(content)
        except OSError as error:
            raise CannotError(f"{file} cannot be written: {error.strerror}") from error

    def discard(self) -> None:
        """Remove what this run wrote, and the folders that it made if they are empty then."""
        for file in self.files.values():
            Path(file).unlink(missing_ok=True)
        self.files.clear()
        for folder in reversed(self._made):
            if any(folder.iterdir()):
                break
            folder.rmdir()
        self._made.clear()

    def _make(self) -> None:
        missing = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True)
            self._made.append(folder)


@contextmanager
def open_results(wanted: Path | None, topology: str) -> Iterator[ResultsFolder]:
    """Yield the run's folder. An interrupted run leaves nothing; after an error what came helps."""
    folder = ResultsFolder(wanted, topology)
    try:
        yield folder
    except KeyboardInterrupt:
        folder.discard()
        raise


def fresh_folder(topology: str) -> Path:
    """A name that is not taken: two runs may begin in the same second."""
    stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    plain = DEFAULT / f"{topology}-{stamp}"
    numbered = (plain.with_name(f"{plain.name}-{number}") for number in range(2, 1000))
    return next(folder for folder in (plain, *numbered) if not folder.exists())

"""The results folder: what stays of a run when everything else is gone."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from itertools import count
from pathlib import Path

from lab.errors import CannotError, StartError, UsageError
from lab.paths import nearest

DEFAULT = Path("lab-results")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class ResultsFolder:
    """One run's results. The folder is made when its first file comes, or by `make`.

    Until then its ``path`` may change, unless the user has named it.
    """

    def __init__(self, wanted: Path | None, topology: str) -> None:
        """``wanted`` is the user's choice; otherwise the folder is named after topology and time.

        Raises UsageError when no such folder can be made.
        """
        self._wanted = wanted
        self._others = _free(topology)
        self.path = (wanted or next(self._others)).absolute()
        self.files: dict[str, str] = {}
        self._ready = False
        self._made: list[Path] = []
        existing = nearest(self.path)
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
        self.make()
        file = self.path / name
        self.files[name] = str(file)
        try:
            file.write_bytes(content)
        except OSError as error:
            raise CannotError(f"{file} cannot be written: {error.strerror}") from error

    def make(self) -> Path:
        """Make the folder, and what is missing above it. Raises CannotError."""
        try:
            if not self._ready:
                self._make()
        except OSError as error:
            raise CannotError(f"{self.path} cannot be made: {error.strerror}") from error
        self._ready = True
        return self.path

    def discard(self) -> None:
        """Remove what this run wrote, and the folders that it made if they are empty then."""
        for file in self.files.values():
            Path(file).unlink(missing_ok=True)
        self.files.clear()
        with suppress(OSError):  # not empty: it is of use to somebody
            for folder in reversed(self._made):
                folder.rmdir()
        self._made.clear()
        self._ready = False

    def _make(self) -> None:
        for folder in reversed([each for each in self.path.parents if not each.exists()]):
            folder.mkdir(exist_ok=True)
            self._made.append(folder)
        while not self._taken():
            self.path = next(self._others).absolute()

    def _taken(self) -> bool:
        """Of two runs that begin in the same second, one finds the name taken only now."""
        try:
            self.path.mkdir()
        except FileExistsError:
            return self._wanted is not None
        self._made.append(self.path)
        return True


@contextmanager
def open_results(wanted: Path | None, topology: str) -> Iterator[ResultsFolder]:
    """Yield the run's folder. An interrupted run leaves nothing; after an error what came helps."""
    folder = ResultsFolder(wanted, topology)
    try:
        yield folder
    except KeyboardInterrupt:
        folder.discard()
        raise


def _free(topology: str) -> Iterator[Path]:
    """Names that are not taken."""
    stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
    for number in count(1):
        folder = DEFAULT / (f"{topology}-{stamp}" + (f"-{number}" if number > 1 else ""))
        if not os.path.lexists(folder):
            yield folder

"""What a results folder says of its run or ladder: written at the end, read again at any time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from lab.artifacts import EVIDENCE_FILE, LADDER_FILE, PAGE_FILE, RESULT_FILE
from lab.data import Data
from lab.errors import CannotError, LabError, UsageError
from lab.events import Note
from lab.evidence.whole import Evidence
from lab.record import Record
from lab.report.html.page import ladder_page, run_page
from lab.report.result import Result
from lab.report.rungs import Ladder
from lab.report.trace.perfetto import perfetto
from lab.results import ResultsFolder

Kind = TypeVar("Kind", bound=Data)


@dataclass(frozen=True)
class Saved:
    """One run as its folder has it; ``texts`` are its logs by name."""

    result: Result
    evidence: Evidence | None
    texts: dict[str, str]

    def page(self, folder: str = "") -> str:
        """The run as HTML; ``folder`` is where the artifacts lie as seen from the page."""
        return run_page(self.result, self.evidence, self.texts, folder)


def save(result: Result, evidence: Evidence | None, folder: ResultsFolder) -> Result:
    """Write the result, its page and its time lines; returns it with the places of all artifacts,
    these too."""
    for life in result.life:
        folder.write(f"{life.probe}.perfetto.json", perfetto(life).encode())
    for name in (RESULT_FILE, PAGE_FILE):
        folder.write(name, b"")
    complete = result.model_copy(update={"artifacts": dict(folder.files)})
    folder.write(RESULT_FILE, complete.document().encode())
    page = Saved(complete, evidence, _texts(complete, folder.path)).page()
    folder.write(PAGE_FILE, page.encode())
    return complete


def save_ladder(ladder: Ladder, folder: ResultsFolder) -> None:
    """Write the ladder and its page beside the folders of its runs."""
    folder.write(LADDER_FILE, ladder.document().encode())
    folder.write(PAGE_FILE, ladder_page(ladder, str(folder.path)).encode())


@contextmanager
def saved_when_failed(
    folder: ResultsFolder,
    record: Record,
    result_of: Callable[[LabError], Result],
    tell: Callable[[Result], None],
) -> Iterator[None]:
    """A run that ends early has a page too, as soon as it has anything to show.

    ``tell`` hears the result as it was saved, before the error goes on.
    """
    try:
        yield
    except LabError as error:
        result = result_of(error)
        if folder.files:
            with suppress(CannotError):  # the first error is the one to be told
                result = save(result, record.evidence, folder)
                record.emit(Note(text=f"report: {folder.path / PAGE_FILE}"))
        tell(result)
        raise


def read(folder: Path) -> Saved:
    """Read a results folder, wherever it lies now. Raises UsageError where it is none."""
    result = _record(Result, folder / RESULT_FILE)
    if result is None:
        raise UsageError(
            f"{folder} has no {RESULT_FILE} and no {LADDER_FILE}",
            hint="name a folder that `lab run` or `lab ladder` wrote",
        )
    # The folder may have been moved, or come from another machine.
    names = {
        name: str(folder.absolute() / Path(path).name) for name, path in result.artifacts.items()
    }
    result = result.model_copy(update={"artifacts": names})
    return Saved(result, _record(Evidence, folder / EVIDENCE_FILE), _texts(result, folder))


def read_ladder(folder: Path) -> Ladder | None:
    """The ladder of this folder, wherever it lies now; None if it is not one. Raises UsageError."""
    ladder = _record(Ladder, folder / LADDER_FILE)
    if ladder is None:
        return None
    here = folder.absolute()
    rungs = (
        rung.model_copy(
            update={"folders": tuple(str(here / Path(each).name) for each in rung.folders)}
        )
        for rung in ladder.rungs
    )
    return ladder.model_copy(update={"rungs": tuple(rungs)})


def _record(kind: type[Kind], file: Path) -> Kind | None:
    try:
        return kind.model_validate_json(file.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the whole file"
        raise UsageError(
            f"{file} is not what this lab writes: {place}: {first['msg']}",
            hint="another version of the lab may have written it",
        ) from None


def _texts(result: Result, folder: Path) -> dict[str, str]:
    """The run's own logs: a folder that was used twice may hold others."""
    names = {Path(path).name for path in result.artifacts.values()}
    logs = (folder / name for name in sorted(names) if name.endswith(".log"))
    return {log.name: log.read_text(errors="replace") for log in logs if log.is_file()}

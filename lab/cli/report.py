"""``lab report``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from lab.errors import CannotError
from lab.paths import nearest
from lab.report import ladder_terminal, terminal
from lab.report.html.page import ladder_page
from lab.saved import read, read_ladder


def report(
    folder: Annotated[Path, Parameter(help="A results folder of a run or a ladder.")],
    /,
    *,
    html: Annotated[Path | None, Parameter(help="Write the page to this file instead.")] = None,
) -> int:
    """Show a run or a ladder again, as it was shown when it ended."""
    if html is None:
        _show(folder)
    else:
        check_page(html)
        write_page(html, _page(folder, html))
        print(html)
    return 0


def _show(folder: Path) -> None:
    if ladder := read_ladder(folder):
        ladder_terminal.show(ladder, Console())
    else:
        terminal.show(read(folder).result, Console())


def _page(folder: Path, html: Path) -> str:
    """The page, whose links lead from where it will lie to what is in the folder."""
    if ladder := read_ladder(folder):
        return ladder_page(ladder, str(html.absolute().parent))
    beside = os.path.relpath(folder, html.parent)
    return read(folder).page("" if beside == "." else beside)


def check_page(file: Path) -> None:
    """Whether a page could be written there: to be asked before the work. Raises CannotError."""
    known = nearest(file)
    good = known.is_file() if known == file.absolute() else known.is_dir()
    if not good or not os.access(known, os.W_OK):
        raise CannotError(f"{file} cannot be written: {known} is not yours to write to")


def write_page(file: Path, page: str) -> None:
    """Write a page where the user wants it. Raises CannotError."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(page, encoding="utf-8")
    except OSError as error:
        raise CannotError(f"{file} cannot be written: {error.strerror}") from error

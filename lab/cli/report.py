"""``lab report``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from lab.errors import CannotError
from lab.report.terminal import show
from lab.saved import read


def report(
    folder: Annotated[Path, Parameter(help="A results folder that `lab run` wrote.")],
    /,
    *,
    html: Annotated[Path | None, Parameter(help="Write the page to this file instead.")] = None,
) -> int:
    """Show a run again, as it was shown when it ended."""
    saved = read(folder)
    if html is None:
        show(saved.result, Console())
        return 0
    check_page(html)
    beside = os.path.relpath(folder, html.parent)
    write_page(html, saved.page("" if beside == "." else beside))
    print(html)
    return 0


def check_page(file: Path) -> None:
    """Whether a page could be written there: to be asked before the work. Raises CannotError."""
    known = next(each for each in (file, *file.absolute().parents) if each.exists())
    good = known.is_file() if known == file else known.is_dir()
    if not good or not os.access(known, os.W_OK):
        raise CannotError(f"{file} cannot be written: {known} is not yours to write to")


def write_page(file: Path, page: str) -> None:
    """Write a page where the user wants it. Raises CannotError."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(page, encoding="utf-8")
    except OSError as error:
        raise CannotError(f"{file} cannot be written: {error.strerror}") from error

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
    beside = os.path.relpath(folder, html.parent)
    write_page(html, saved.page("" if beside == "." else beside))
    print(html)
    return 0


def write_page(file: Path, page: str) -> None:
    """Write a page where the user wants it. Raises CannotError."""
    try:
        file.write_text(page, encoding="utf-8")
    except OSError as error:
        raise CannotError(f"{file} cannot be written: {error.strerror}") from error

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
    try:
        html.write_text(saved.page("" if beside == "." else beside))
    except OSError as error:
        raise CannotError(f"{html} cannot be written: {error.strerror}") from error
    print(html)
    return 0

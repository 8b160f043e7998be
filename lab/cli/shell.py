"""``lab shell``."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from lab.errors import UsageError
from lab.labhost.accelerator import Choice
from lab.places import WantedPlace, facts_of, open_place
from lab.record import Record
from lab.report.screen import Screen


def shell(
    *, accel: Annotated[Choice, Parameter(help="What the lab host runs on.")] = Choice.AUTO
) -> int:
    """A root shell in a fresh lab host; Ctrl-] ends it, and the lab host with it."""
    if not sys.stdin.isatty():
        raise UsageError("a shell needs a terminal", hint="use `lab run` for what runs by itself")
    wanted = WantedPlace(accelerator=accel)
    with (
        Screen(Console(stderr=True)) as screen,
        open_place(wanted, facts_of(wanted), Record(screen)) as place,
    ):
        screen.rest()
        print("a root shell in the lab host; Ctrl-] ends it", file=sys.stderr)
        place.shell()
    return 0

"""``lab doctor``."""

from __future__ import annotations

from typing import Annotated

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lab.cli.options import Json, flag
from lab.doctor import Chances, Diagnosis, Finding, Grade, examine
from lab.errors import CannotError

_STYLES = {Grade.PASS: "green", Grade.WARN: "yellow", Grade.FAIL: "bold red"}


def doctor(
    *,
    probe: Annotated[bool, flag("Boot a guest under KVM, whatever is known of it.")] = False,
    json: Json = False,
) -> int:
    """Say what this machine can do for each topology, and how it could do more.

    Exit status 0 where lab hosts work, 3 where they do not.
    """
    diagnosis = examine(probe=probe)
    if json:
        print(diagnosis.model_dump_json(indent=2), flush=True)
    else:
        _show(diagnosis, Console())
    return 0 if diagnosis.works else CannotError.status


def _show(diagnosis: Diagnosis, console: Console) -> None:
    for title, findings in (
        ("Lab hosts (lab run NAME): no root needed", diagnosis.labhost),
        ("This machine's own kernel (lab run NAME --on here)", diagnosis.here),
    ):
        console.print(Text(title, style="bold"))
        for finding in findings:
            _show_finding(finding, console)
        console.print()
    console.print(_topologies(diagnosis.topologies))
    console.print()
    if diagnosis.works:
        console.print(Text("Lab hosts work here: try `lab run vhost`.", style="green"))
    else:
        console.print(Text("Lab hosts do not work here: see each FAIL.", style="bold red"))


def _show_finding(finding: Finding, console: Console) -> None:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(width=4)
    grid.add_column(width=10)
    grid.add_column()
    style = _STYLES[finding.grade]
    grid.add_row(Text(finding.grade.value, style=style), finding.name, Text(finding.text))
    console.print(Padding(grid, (0, 0, 0, 2), expand=False))
    if finding.fix:
        # Never wrapped: it is there to be pasted.
        line = Text("        $ ", style="dim") + Text(finding.fix, style="cyan")
        console.print(line, soft_wrap=True)


def _topologies(chances: tuple[Chances, ...]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("Topology", "lab host", "here", "missing here"):
        table.add_column(title, no_wrap=title != "missing here")
    for each in chances:
        table.add_row(
            each.topology,
            Text(each.labhost.value, style=_STYLES[each.labhost]),
            Text(each.here.value, style=_STYLES[each.here]),
            ", ".join(each.missing),
        )
    return table

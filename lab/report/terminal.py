"""The result of a run for the eye: the path, who carried it, the checks, and where things lie.

Colour only helps: whatever it says is also said by a word or a sign.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lab.plan.data import Direction
from lab.report import costtable
from lab.report.drawing import Cell, cells, duration, lines
from lab.report.life import told
from lab.report.plain import plainly
from lab.report.result import Result, ResultPath
from lab.report.summary import ran_on, summary
from lab.report.trace.table import show_life
from lab.report.verdict import Check, Outcome

_WORDS = {
    Outcome.PASS: ("ok", "green"),
    Outcome.SKIP: ("skip", "yellow"),
    Outcome.FAIL: ("FAIL", "bold red"),
    Outcome.ERROR: ("ERROR", "bold red"),
}
_INDENT = 7


def show(result: Result, console: Console) -> None:
    """Print a whole result that has a verdict."""
    result = plainly(result)
    console.print()
    _show_paths(result.paths, console)
    for life in told(result.life):
        show_life(life, console)
        console.print()
    _show_carriers(result, console)
    _show_costs(result, console)
    _show_checks(result.checks, console)
    console.print()
    _show_end(result, console)


def _show_paths(paths: tuple[ResultPath, ...], console: Console) -> None:
    """All of them; with several NICs those of each have a title."""
    nics = list(dict.fromkeys((path.guest, path.nic) for path in paths))
    for guest, nic in nics:
        if len(nics) > 1:
            console.print(Text(f"  {guest}.{nic}", style="bold"))
        for path in paths:
            if (path.guest, path.nic) == (guest, nic):
                _show_path(path, console)


def _show_path(path: ResultPath, console: Console) -> None:
    word = "in" if path.direction is Direction.IN else "out"
    for index, line in enumerate(lines(cells(path), console.width - _INDENT)):
        label = Text(f"  {word:<{_INDENT - 2}}" if index == 0 else " " * _INDENT, style="bold")
        console.print(label + _row(line, 0), no_wrap=True)
        console.print(Text(" " * _INDENT) + _row(line, 1, "dim"), no_wrap=True)
        console.print(Text(" " * _INDENT) + _row(line, 2, "cyan"), no_wrap=True)
    total = _total(path)
    if total:
        console.print(Text(f"{'':{_INDENT}}{total}", style="dim"))
    console.print()


def _row(line: tuple[Cell, ...], row: int, style: str = "") -> Text:
    text = Text()
    for cell in line:
        text.append(cell.rows[row], style=style if cell.seen else "bold red")
    text.rstrip()
    return text


def _total(path: ResultPath) -> str:
    first, last = path.hops[0], path.hops[-1]
    if first.time_ns is None or last.time_ns is None:
        return ""
    error = (first.error_ns or 0) + (last.error_ns or 0)
    way = f"{duration(last.time_ns - first.time_ns)} from {first.hop} to {last.hop}"
    return f"{way}, ±{duration(error)} by the guest's clock" if error else way


def _show_carriers(result: Result, console: Console) -> None:
    words = {(path.guest, path.nic): path.words for path in result.paths if path.words}
    for (guest, nic), text in words.items():
        who = "" if len(words) == 1 else f"{guest}.{nic}: "
        console.print(Padding(Text(who + text), (0, 2, 0, 2), expand=False))
        console.print()


def _show_costs(result: Result, console: Console) -> None:
    """Those of each NIC of which something was counted."""
    counted = {who: costs for who, costs in result.costs.items() if costs.counted}
    for who, costs in counted.items():
        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
        whose = "" if len(counted) == 1 else f" of {who}"
        table.add_column(f"per packet{whose}", no_wrap=True)
        for title in costtable.titles(costs):
            table.add_column(title, justify="right", no_wrap=True)
        table.add_column("in ping-pong", style="dim")
        for row in costtable.rows(costs):
            table.add_row(*map(Text, (row.name, *row.cells, row.made_of)))
        console.print(Padding(table, (0, 0, 0, 2)))
        for note in costtable.notes(costs, result):
            console.print(Padding(Text(note, style="dim"), (0, 2, 0, 2), expand=False))
        console.print()


def _show_checks(checks: tuple[Check, ...], console: Console) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for title, wrap in (("", False), ("check", False), ("expected", True), ("observed", True)):
        table.add_column(title, no_wrap=not wrap)
    for check in checks:
        word, style = _WORDS[check.outcome]
        strong = "" if check.outcome is Outcome.PASS else style
        table.add_row(
            Text(word, style=style),
            Text(check.name, style=strong),
            Text(check.expected),
            Text(check.observed, style=strong),
        )
    console.print(Padding(table, (0, 0, 0, 2), expand=False))


def _show_end(result: Result, console: Console) -> None:
    _, style = _WORDS[result.outcome]
    text = Text(f"  {result.outcome.upper()}", style=f"bold {style}")
    text.append(f"  {result.topology}: {summary(result)}", style="")
    console.print(text, soft_wrap=True)
    for line in _facts(result):
        console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)


def _facts(result: Result) -> Iterator[str]:
    """What ran where, and where its traces are."""
    if result.sabotage:
        yield f"sabotage {result.sabotage!r} was asked for, so a red check is what should be seen"
    yield from (f"{name:<10} {words}" for name, words in ran_on(result))
    folders = sorted({str(Path(path).parent) for path in result.artifacts.values()})
    for folder in folders:
        names = [Path(path).name for path in result.artifacts.values()]
        yield f"results    {folder}/"
        yield f"           {', '.join(sorted(names))}"

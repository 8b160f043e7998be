"""The ladder for the eye: ways, counts side by side, each step, and what theory says of it.

Colour only helps: whatever it says is also said by a word or a sign.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lab.artifacts import LADDER_FILE, PAGE_FILE
from lab.plan.data import Carrier, Direction
from lab.report.ladderwords import (
    CHANCE_LEGEND,
    SIGNS,
    SIGNS_LEGEND,
    against_upper,
    interval,
    measured,
    told,
    value,
    word,
)
from lab.report.plain import plainly
from lab.report.quantities import QUANTITIES, Group, Quantity
from lab.report.rungs import Comparison, Flag, Kept, Ladder, Rung, Step
from lab.report.verdict import Outcome

_CARRIERS = {Carrier.QEMU: "QEMU", Carrier.VHOST: "vhost-net", Carrier.VFIO: "hardware"}
_STYLES = {
    Outcome.PASS: "green",
    Outcome.SKIP: "yellow",
    Outcome.FAIL: "bold red",
    Outcome.ERROR: "bold red",
}
_PROMISES = {
    Outcome.PASS: "kept",
    Outcome.SKIP: "not provable here",
    Outcome.FAIL: "CONTRADICTED",
    Outcome.ERROR: "NOT MEASURED",
}
_TITLES = {
    Group.PATH: "on the way",
    Group.PING_PONG: "ping-pong, a packet",
    Group.BURST: "bursts, a packet",
    Group.TIME: "times",
    Group.RATE: "rates",
}
_LEGEND = f"beside the rung it is compared with: {SIGNS_LEGEND} (95 %)"
_ONE_ROUND = "one round says nothing of its spread: nothing is called fewer or more"
_INDENT = 2
_NARROW = 8
_CELL = 7


def show(ladder: Ladder, console: Console) -> None:
    """Print a whole ladder."""
    ladder = plainly(ladder)
    console.print()
    _show_ways(ladder, console)
    _show_counts(ladder, console)
    if ladder.rounds > 1:
        for step in ladder.steps:
            _show_step(ladder, step, console)
    _show_promises(ladder.promises, console)
    _show_flags(ladder.flags, console)
    _show_problems(ladder.rungs, console)
    _show_not_measured(ladder.rungs, console)
    _show_end(ladder, console)


def _show_ways(ladder: Ladder, console: Console) -> None:
    table = _table(("rung", False), ("outcome", False), ("carried by", False), ("way in", True))
    for rung in ladder.rungs:
        table.add_row(
            Text(rung.name, style="bold"),
            Text(rung.outcome.value, style=_STYLES[rung.outcome]),
            Text(_CARRIERS[rung.carrier] if rung.carrier else "-"),
            Text(_way(rung)),
        )
    console.print(_indented(table))
    console.print()


def _show_counts(ladder: Ladder, console: Console) -> None:
    """All quantities that any rung has, a column for each rung."""
    names = list(_headings(ladder.rungs, console.width))
    table = _table(("", False), *((name, False) for name in names), right=True)
    for group in Group:
        rows = [quantity for quantity in measured(ladder) if quantity.group is group]
        if rows:
            table.add_row(Text(_TITLES[group], style="bold"))
        for quantity in rows:
            cells = (_cell(ladder, rung, quantity) for rung in ladder.rungs)
            table.add_row(Text(f" {quantity.label}{_unit(quantity)}"), *cells)
    table.add_row(Text("compared with", style="dim"), *_compared(ladder.rungs, names))
    console.print(_indented(table))
    legend = _LEGEND if ladder.rounds > 1 else _ONE_ROUND
    for line in (legend, CHANCE_LEGEND):
        console.print(Text(f"{'':{_INDENT}}{line}", style="dim"))
    console.print()


def _show_step(ladder: Ladder, step: Step, console: Console) -> None:
    console.print(Text(f"{'':{_INDENT}}{step.lower} against {step.upper}", style="bold"))
    table = _table(("", False), ("from", False), ("to", False), ("ratio", False), ("", False))
    for column in table.columns[1:4]:
        column.justify = "right"
    for quantity, ratio in told(step, Comparison.FEWER, Comparison.MORE):
        rungs = (ladder.rung(name) for name in (step.upper, step.lower))
        words = (
            f" {_label(quantity)}",
            *(value(rung, quantity, _number) for rung in rungs),
            interval(ratio),
            f"{SIGNS[ratio.verdict]} {word(quantity, ratio.verdict)}",
        )
        table.add_row(*map(Text, words))
    if table.row_count:
        console.print(_indented(table))
    same = [_label(quantity) for quantity, _ in told(step, Comparison.SAME)]
    unclear = [f"{_label(key)} {interval(ratio)}" for key, ratio in told(step, Comparison.UNCLEAR)]
    for title, named in (("as many", same), ("cannot tell", unclear)):
        if named:
            text = Text(f"{title}: {'; '.join(named)}", style="dim")
            console.print(Padding(text, (0, 0, 0, _INDENT + 1)))
    console.print()


def _show_promises(promises: Sequence[Kept], console: Console) -> None:
    if not promises:
        return
    table = _table(("what theory promises", True), ("", False), ("seen", True))
    for each in promises:
        style = _STYLES[each.outcome]
        strong = "" if each.outcome is Outcome.PASS else style
        word = Text(_PROMISES[each.outcome], style=style)
        table.add_row(Text(each.says), word, Text(each.observed, style=strong))
    console.print(_indented(table))
    console.print()


def _show_flags(flags: Sequence[Flag], console: Console) -> None:
    for flag in flags:
        reasons = sorted(flag.reasons.items(), key=lambda item: -item[1])
        why = ", ".join(f"{share:.2f} {reason}" for reason, share in reasons) or "reasons unknown"
        pattern = flag.quantity.partition(".")[0]
        words = f"! {flag.rung} stops for QEMU {flag.per_packet:.2f} times a packet, {pattern}: "
        console.print(Padding(Text(words + why, style="yellow"), (0, 0, 1, _INDENT)))


def _show_problems(rungs: Sequence[Rung], console: Console) -> None:
    for rung in rungs:
        for problem in rung.problems:
            text = Text(f"{rung.name}: {problem}", style="red")
            console.print(Padding(text, (0, 0, 0, _INDENT)))


def _show_not_measured(rungs: Sequence[Rung], console: Console) -> None:
    """One line for each reason, as most hold for many rungs."""
    names: dict[str, dict[str, None]] = {}
    climbed: dict[str, dict[str, None]] = {}
    for rung in rungs:
        for name, why in rung.not_measured.items():
            names.setdefault(why, {})[name] = None
            climbed.setdefault(why, {})[rung.name] = None
    for why, missing in names.items():
        where = "" if len(climbed[why]) == len(rungs) else f" ({', '.join(climbed[why])})"
        text = f"not measured: {', '.join(missing)}{where}: {why}"
        console.print(Padding(Text(text, style="dim"), (0, 0, 0, _INDENT)))


def _show_end(ladder: Ladder, console: Console) -> None:
    green = sum(rung.outcome.green for rung in ladder.rungs)
    text = Text(f"\n{'':{_INDENT}}{ladder.outcome.upper()}", style=_STYLES[ladder.outcome])
    text.append(f"  {green} of {len(ladder.rungs)} rungs passed", style="")
    text.append(_kept(ladder.promises), style="")
    text.append(f"; {_rounds(ladder.rounds)} in {ladder.seconds:.0f} s", style="")
    console.print(text)
    on = ladder.rungs[0].accelerator
    told = f"lab host {(on.labhost or 'none').upper()}, guest {(on.guest or '?').upper()}"
    words = f"{told}, {ladder.cpu}: counts hold anywhere, times only beside each other"
    console.print(Padding(Text(words, style="dim"), (0, 0, 0, _INDENT)))
    for line in _results(ladder):
        console.print(f"{'':{_INDENT}}{line}", markup=False, highlight=False, soft_wrap=True)


def _results(ladder: Ladder) -> Iterator[str]:
    folders = {str(Path(each).parent) for rung in ladder.rungs for each in rung.folders}
    for folder in sorted(folders):
        yield f"results    {folder}/"
        yield f"           {LADDER_FILE}, {PAGE_FILE}, and a folder for each run"


def _kept(promises: Sequence[Kept]) -> str:
    kept = sum(each.outcome is Outcome.PASS for each in promises)
    return f", {kept} of {len(promises)} promises kept" if promises else ""


def _rounds(number: int) -> str:
    return "1 round" if number == 1 else f"{number} rounds"


def _way(rung: Rung) -> str:
    """The way in; a hop that did not see the probe stands in brackets."""
    way = next((path for path in rung.paths if path.direction is Direction.IN), None)
    hops = way.hops if way else ()
    return " > ".join(hop.hop if hop.seen else f"({hop.hop})" for hop in hops) or "-"


def _headings(rungs: Sequence[Rung], width: int) -> Iterator[str]:
    """The rungs' names, cut where not all of them fit."""
    label = max(len(f" {quantity.label}{_unit(quantity)}") for quantity in QUANTITIES)
    full = _INDENT + label + sum(max(_CELL, len(rung.name)) + 1 for rung in rungs)
    for rung in rungs:
        fits = full <= width or len(rung.name) <= _NARROW
        yield rung.name if fits else f"{rung.name[: _NARROW - 1]}…"


def _cell(ladder: Ladder, rung: Rung, quantity: Quantity) -> Text:
    ratio = against_upper(ladder, rung, quantity)
    sign = SIGNS.get(ratio.verdict, " ") if ratio and ladder.rounds > 1 else " "
    return Text(f"{value(rung, quantity, _number)}{sign}")


def _compared(rungs: Sequence[Rung], names: Sequence[str]) -> Iterator[Text]:
    headings = {rung.name: name for rung, name in zip(rungs, names, strict=True)}
    for rung in rungs:
        yield Text(f"{headings[rung.above] if rung.above else '-'} ", style="dim")


def _label(quantity: Quantity) -> str:
    """With its group where two quantities have the same name."""
    burst = ", bursts" if quantity.group is Group.BURST else ""
    return f"{quantity.label}{_unit(quantity)}{burst}"


def _unit(quantity: Quantity) -> str:
    return f" {quantity.unit}" if quantity.unit else ""


def _number(figure: float) -> str:
    return f"{figure:.2f}" if figure < 100 else f"{figure:.0f}"


def _table(*titles: tuple[str, bool], right: bool = False) -> Table:
    """Columns by title and whether they may wrap; with ``right`` all but the first are numbers."""
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    for index, (title, wrap) in enumerate(titles):
        justify = "right" if right and index else "left"
        table.add_column(title, no_wrap=not wrap, justify="right" if justify == "right" else "left")
    return table


def _indented(table: Table) -> Padding:
    return Padding(table, (0, 0, 0, _INDENT), expand=False)

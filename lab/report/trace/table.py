"""A life for the eye: a time line from top to bottom, and where the packet got lost.

Bold steps tell the story by themselves; the rest says how it came about. Colour only helps.
"""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lab.plan.data import Direction
from lab.report.drawing import duration
from lab.report.life import Actor, Counters, Life, Step

_STYLES = {
    Actor.TESTER: "magenta",
    Actor.NIC: "yellow",
    Actor.HOST: "blue",
    Actor.VHOST: "cyan",
    Actor.QEMU: "red",
    Actor.KVM: "",
    Actor.GUEST: "green",
}
_PROBES = {"icmp": "an ICMP echo", "hop": "a marked UDP packet"}
_WIDE = 100
_TROUBLE = ("drop", "err", "missed", "nohandler", "collisions", "over")


def show_life(life: Life, console: Console) -> None:
    """Print one packet's life."""
    console.print(_title(life))
    console.print()
    console.print(Padding(_table(life, wide=console.width >= _WIDE), (0, 0, 0, 2), expand=False))
    console.print()
    if life.loss:
        console.print(Padding(Text(life.loss.words, style="bold red"), (0, 2)))
        for line in _counters(life.loss.counters):
            console.print(Padding(Text(line), (0, 2)))
        console.print()
    console.print(Padding(_shares(life), (0, 2)))
    for note in life.notes:
        console.print(Padding(Text(note, style="dim"), (0, 2)))


def _title(life: Life) -> Text:
    text = Text(f"  {_PROBES.get(life.kind, life.kind)} of {life.size} bytes", style="bold")
    text.append(f" to {life.guest}.{life.nic}", style="bold")
    if life.loss:
        return text.append(": lost", style="bold red")
    way = "arrived after" if life.kind == "hop" else "there and back in"
    return text.append(f": {way} {duration(life.duration_ns)}", style="bold")


def _table(life: Life, *, wide: bool) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="dim")
    table.add_column("us", justify="right", no_wrap=True)
    if wide:
        table.add_column("step", justify="right", no_wrap=True)
    table.add_column("CPU", justify="right")
    table.add_column("thread", no_wrap=True)
    table.add_column("where", no_wrap=True)
    table.add_column("what")
    previous = 0
    for step in life.steps:
        table.add_row(*_row(step, previous, wide=wide), style="" if step.strong else "dim")
        previous = step.time_ns
    return table


def _row(step: Step, previous: int, *, wide: bool) -> Iterator[Text]:
    style = "bold" if step.strong else ""
    yield Text(_micros(step.time_ns))
    if wide:
        yield Text(f"+{_micros(step.time_ns - previous)}")
    yield Text("" if step.cpu is None else str(step.cpu))
    yield Text(step.thread, style=_STYLES[step.actor])
    yield Text(f"{step.where} {step.device}".strip())
    error = f" ±{_micros(step.error_ns)} us" if step.error_ns else ""
    arrow = "▼" if step.leg is Direction.IN else "▲"
    yield Text(f"{arrow} {step.what}{error}", style=style)


def _micros(nanoseconds: int) -> str:
    return f"{nanoseconds / 1000:,.0f}"


def _shares(life: Life) -> Text:
    """How long each had it, in all, the longest first."""
    sums: dict[Actor, int] = {}
    for span in life.spans:
        sums[span.actor] = sums.get(span.actor, 0) + span.end_ns - span.begin_ns
    text = Text("in whose hands: ")
    parts = sorted(sums.items(), key=lambda item: -item[1])
    for number, (actor, nanoseconds) in enumerate(parts):
        text.append(", " if number else "")
        text.append(actor.value, style=_STYLES[actor])
        text.append(f" {duration(nanoseconds)}")
    return text


def _counters(counters: tuple[Counters, ...]) -> Iterator[str]:
    """Nothing where no device was named whose counters tell anything."""
    if not counters:
        return
    grown = "; ".join(f"{each.device} {_grown(each)}" for each in counters)
    yield f"counters meanwhile: {grown}"
    trouble = [
        f"{each.device} {name}"
        for each in counters
        for name in each.grown
        if any(word in name for word in _TROUBLE)
    ]
    yield (
        f"counters that tell of trouble: {', '.join(trouble)}"
        if trouble
        else "not one counter of drops or errors has grown"
    )


def _grown(counters: Counters) -> str:
    packets = {name: by for name, by in counters.grown.items() if not name.endswith("bytes")}
    return ", ".join(f"{name} +{by}" for name, by in packets.items()) or "nothing"

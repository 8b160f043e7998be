"""``lab all``."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lab.batch import Batch, BatchRequest, batch_of, run_batch
from lab.cli.images import build_images
from lab.cli.options import Fresh, Json
from lab.errors import UsageError
from lab.events import Stage
from lab.labhost.accelerator import Choice
from lab.model.load import names
from lab.plan.data import Carrier, Direction, Place
from lab.report.result import Result
from lab.report.screen import Screen
from lab.report.verdict import Outcome
from lab.results import open_results
from lab.runs import check

_STYLES = {
    Outcome.PASS: "green",
    Outcome.SKIP: "yellow",
    Outcome.FAIL: "bold red",
    Outcome.ERROR: "bold red",
}
_CARRIERS = {Carrier.QEMU: "QEMU", Carrier.VHOST: "vhost-net", Carrier.VFIO: "hardware"}
_MOST_JOBS = 2
_CANNOT = 3


def all_(  # noqa: PLR0913  one parameter per option
    *topologies: Annotated[str, Parameter(help="Names or files; all that there are by default.")],
    on: Annotated[Place, Parameter(help="Disposable lab hosts, or this machine itself.")] = (
        Place.LABHOST
    ),
    accel: Annotated[Choice, Parameter(help="What lab hosts or guests run on.")] = Choice.AUTO,
    jobs: Annotated[int, Parameter(help="How many at a time.")] = min(
        _MOST_JOBS, os.cpu_count() or 1
    ),
    fresh: Fresh = False,
    json: Json = False,
    out: Annotated[Path | None, Parameter(help="Folder for the results.")] = None,
) -> int:
    """Run all topologies with all their proofs, and end with one table."""
    if jobs < 1:
        raise UsageError("--jobs takes a number from 1 on")
    began = time.monotonic()
    wanted = tuple(dict.fromkeys(topologies or names()))
    check(wanted)
    console = Console(stderr=json)
    with open_results(out, "all") as folder, Screen(console) as screen:
        build_images(screen)
        results = run_batch(
            BatchRequest(wanted, folder.make(), on, accel, jobs, fresh),
            lambda topology: screen.event(Stage(name=topology)),
            lambda topology, result: screen.event(_ended(topology, result)),
        )
    batch = batch_of(results, time.monotonic() - began)
    if json:
        print(batch.document(), flush=True)
    else:
        _show(batch, console)
    return batch.status


def _ended(topology: str, result: Result) -> Stage:
    return Stage(name=topology, seconds=_seconds(result), detail=_word(result))


def _seconds(result: Result) -> float:
    return result.timings.get("total", 0.0)


def _show(batch: Batch, console: Console) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("topology", "outcome", "carried by", "hops"):
        table.add_column(title, no_wrap=title != "hops")
    table.add_column("seconds", justify="right")
    for result in batch.results:
        table.add_row(
            Text(result.topology),
            Text(_word(result), style=_STYLES[result.outcome]),
            Text(_carriers(result)),
            Text(_hops(result)),
            Text(f"{_seconds(result):.1f}"),
        )
    console.print()
    console.print(table)
    for result in batch.results:
        for line in _reasons(result):
            console.print(f"  {line}", markup=False, highlight=False, soft_wrap=True)
    green = sum(result.outcome.green for result in batch.results)
    console.print(
        Text(f"\n  {batch.outcome.upper()}", style=_STYLES[batch.outcome])
        + Text(f"  {green} of {len(batch.results)} topologies in {batch.seconds:.1f} s", style="")
    )


def _word(result: Result) -> str:
    return "cannot" if result.status == _CANNOT else result.outcome.value


def _carriers(result: Result) -> str:
    """Who moved the packets, without repeating."""
    found = dict.fromkeys(path.carrier for path in result.paths)
    return ", ".join(_CARRIERS[carrier] for carrier in found if carrier) or "-"


def _hops(result: Result) -> str:
    """The way in of the first NIC, a hop that did not see the probe in brackets."""
    ways = [path for path in result.paths if path.direction is Direction.IN]
    if not ways:
        return "-"
    words = " > ".join(hop.hop if hop.seen else f"({hop.hop})" for hop in ways[0].hops)
    return f"{words}  +{len(ways) - 1}" if len(ways) > 1 else words


def _reasons(result: Result) -> list[str]:
    """What is wrong, a line each."""
    lines = [
        f"{result.topology}: {check.name}: {check.observed} (expected: {check.expected})"
        for check in result.checks
        if not check.outcome.green
    ]
    if result.error:
        lines.append(f"{result.topology}: {result.error.message}")
        lines += [f"  {line}" for line in result.error.output.splitlines()]
    return lines

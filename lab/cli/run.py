"""``lab run``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console

from lab.cli.options import AttachOption, Fresh, Json, Set, Tester, Topology, Uplink, flag, settings
from lab.errors import LabError, UsageError
from lab.here.ports import Ports
from lab.labhost.accelerator import Choice
from lab.places import WantedPlace
from lab.plan.data import Attach, CostLevel, Place, Plan
from lab.plan.where import WIRE
from lab.report.result import Result, failed_result
from lab.report.screen import Screen
from lab.report.terminal import show
from lab.report.verdict import Check, Outcome
from lab.run import RunRequest
from lab.run import run as run_request


class _Watcher(Screen):
    """Shows a run, and keeps what is known of one that ended early."""

    def __init__(self, console: Console, *, json: bool) -> None:
        super().__init__(console)
        self.ended_early: Result | None = None
        self._json = json

    def linger(self, plan: Plan, checks: tuple[Check, ...], shell: Callable[[], None]) -> None:
        """Say what is there to look at, then a shell in the lab host until that was enough."""
        self.rest()
        print(*_sights(plan, checks), sep="\n", file=sys.stderr)
        shell()
        print(file=sys.stderr)

    def failed(self, result: Result) -> None:
        """Keep what is known for the JSON document."""
        self.ended_early = result

    def finish(self, result: Result) -> None:
        """Show the result."""
        if self._json:
            print(result.document(), flush=True)
        else:
            show(result, self.console)


def _sights(plan: Plan, checks: tuple[Check, ...]) -> Iterator[str]:
    """What a user who looks around should know."""
    bad = [each for each in checks if each.outcome in {Outcome.FAIL, Outcome.ERROR}]
    yield from (f"  ✗ {each.name}: {each.observed}" for each in bad)
    if checks and not bad:
        yield f"  ✓ {len(checks)} checks are green so far"
    for guest in plan.guests:
        where = ", ".join(nic.address.partition("/")[0] for nic in guest.nics)
        yield f"  · {guest.name} runs, at {where}; the tester is in the network namespace {WIRE}"
    yield "  · a root shell in the lab host; Ctrl-] ends it, then all is undone"


def run(  # noqa: PLR0913  one parameter per option
    topology: Topology,
    /,
    *,
    on: Annotated[Place, Parameter(help="A disposable lab host, or this machine itself.")] = (
        Place.LABHOST
    ),
    set_: Set = (),
    accel: Annotated[
        Choice, Parameter(help="What the lab host, or a guest on this machine, runs on.")
    ] = Choice.AUTO,
    uplink: Uplink = "",
    tester: Tester = "",
    json: Json = False,
    attach: AttachOption = Attach.COLD,
    rounds: Annotated[
        int, Parameter(validator=Number(gte=1, lte=100), help="How often to plug in and out.")
    ] = 1,
    costs: Annotated[
        CostLevel,
        Parameter(help="tcp: TCP as well; full: rates without loss too, and more of all."),
    ] = CostLevel.BRIEF,
    keep: Annotated[bool, flag("A root shell in the lab host before the undo.")] = False,
    fresh: Fresh = False,
    out: Annotated[Path | None, Parameter(help="Folder for the results.")] = None,
    sabotage: Annotated[
        str | None, Parameter(help="Build a fault in, to see its check turn red.")
    ] = None,
) -> int:
    """Run a topology with all its proofs."""
    if rounds > 1 and attach is not Attach.HOTPLUG:
        raise UsageError("--rounds plugs NICs in and out again", hint="add --attach hotplug")
    if keep and (json or not sys.stdin.isatty()):
        raise UsageError("--keep needs a terminal, for a shell", hint="leave out --keep")
    request = RunRequest(
        topology=topology,
        settings=settings(set_),
        on=WantedPlace(on, accel, Ports(uplink, tester)),
        sabotage=sabotage,
        attach=attach,
        rounds=rounds,
        costs=costs,
        out=out,
        keep=keep,
        fresh=fresh,
    )
    return carry_out(request, json=json).status


def carry_out(request: RunRequest, *, json: bool) -> Result:
    """One run, shown while it goes and at its end. Raises what `lab.run.run` does."""
    watcher = _Watcher(Console(stderr=json), json=json)
    try:
        with watcher:
            result = run_request(request, watcher)
    except LabError as error:
        if json:
            known = watcher.ended_early
            if known is None or known.status != error.status:  # nothing began, or Ctrl-C came after
                known = failed_result(request.topology, request.on.place, error)
            print(known.document(), flush=True)
        raise
    watcher.finish(result)
    return result

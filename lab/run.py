"""One run, from a topology to a verdict, on one screen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from lab import machine
from lab.errors import InterruptedRunError, LabError, UsageError
from lab.evidence.whole import Evidence
from lab.model.load import load_topology
from lab.model.topology import Topology
from lab.places import OpenPlace, WantedPlace, check, facts_of, open_place
from lab.plan import sabotage
from lab.plan.beginning import beginning
from lab.plan.build import build
from lab.plan.data import Attach, CostLevel, Facts, Place, Plan
from lab.plan.hotplug import hotplugged
from lab.plan.proof import with_costs
from lab.plan.script import commands
from lab.plan.trace import traced
from lab.record import Listener, Record
from lab.report.counting import costs_in
from lab.report.judge import judge
from lab.report.result import (
    Accelerators,
    Machines,
    Result,
    Versions,
    commands_in,
    failed_result,
    paths_in,
)
from lab.report.trace.timeline import lives_in
from lab.report.verdict import LEFT_BEHIND, Check
from lab.results import open_results
from lab.saved import save, saved_when_failed


@dataclass(frozen=True)
class TraceRequest:
    """That packets be followed instead of everything proved: see `lab.plan.trace.traced`."""

    nic: str | None = None
    size: int | None = None


@dataclass(frozen=True)
class RunRequest:
    """What the user asked for.

    ``sabotage`` names a fault to be built in, to see its check red. With ``attach`` hotplug the
    NICs are plugged in and out ``rounds`` times. A ``fresh`` run boots its guests itself, and
    keeps nothing for the next one.
    """

    topology: str
    settings: Mapping[str, str]
    on: WantedPlace = field(default_factory=WantedPlace)
    sabotage: str | None = None
    attach: Attach = Attach.COLD
    rounds: int = 1
    trace: TraceRequest | None = None
    costs: CostLevel = CostLevel.BRIEF
    out: Path | None = None
    keep: bool = False
    fresh: bool = False


class RunListener(Listener, Protocol):
    """Whoever shows a run."""

    def linger(self, plan: Plan, checks: tuple[Check, ...], shell: Callable[[], None]) -> None:
        """All that was built still stands, because the user wants to look; then it is undone.

        ``checks`` are those that can be judged by now; none where the run has failed.
        """

    def failed(self, result: Result) -> None:
        """What is known of a run that ended early; its error comes next."""


def run(request: RunRequest, listener: RunListener) -> Result:
    """Carry out one run; everything that can be decided is decided before anything is started.

    Raises the errors of `lab.errors`; InterruptedRunError after KeyboardInterrupt.
    """
    record = Record(listener)
    with _told_when_interrupted(record):
        # Once: the file may change meanwhile, and a pipe is empty the second time.
        topology = load_topology(request.topology, request.settings)
        draft = _draft(request, topology)
        failed, kept = partial(_failed, request, draft, record), _kept(request, draft)
        with (
            open_results(request.out, draft.topology) as folder,
            saved_when_failed(folder, record, failed, listener.failed),
            open_place(request.on, draft.facts, record, kept, folder.write) as place,
        ):
            plan = _plan(request, topology, place.facts)
            stream = place.carry(plan, keep=request.keep)
            held = partial(_look, plan, record, place, listener)
            evidence = record.follow(stream, folder, held)
            result = _result(request, plan, evidence, record, place)
            return save(result, evidence, folder)


def _kept(request: RunRequest, plan: Plan) -> str | None:
    """What the next run may begin with; a fault is not worth keeping."""
    if request.fresh or request.keep or request.sabotage is not None:
        return None
    return beginning(plan)


def _look(plan: Plan, record: Record, place: OpenPlace, listener: RunListener) -> None:
    """Let the user look, then let all be undone. What is left behind cannot be judged yet."""
    checks = judge(plan, record.evidence, ()).checks if record.evidence else ()
    listener.linger(plan, tuple(each for each in checks if each.name != LEFT_BEHIND), place.shell)
    place.go_on()


def _draft(request: RunRequest, topology: Topology) -> Plan:
    """The plan as far as it is known before anything is started; refused where it cannot run."""
    if request.keep and request.on.place is Place.HERE:
        raise UsageError("--keep needs a lab host", hint="leave out --on here")
    check(topology, request.on)
    return _plan(request, topology, facts_of(request.on))


def _plan(request: RunRequest, topology: Topology, facts: Facts) -> Plan:
    """The plan, spoiled if that is asked for, and with a trace in place of the proofs."""
    plan = build(topology, facts)
    plan = with_costs(plan, request.costs)
    if request.attach is Attach.HOTPLUG:
        plan = hotplugged(plan, request.rounds)
    if request.sabotage is not None:
        plan = _spoiled(plan, request.sabotage)
    if request.trace is not None:
        plan = traced(plan, request.trace.nic, request.trace.size)
    return plan


def _spoiled(plan: Plan, name: str) -> Plan:
    usable = {fault.name: fault for fault in sabotage.applicable(plan)}
    if name not in usable:
        raise UsageError(
            f"{plan.topology} has no sabotage {name!r}",
            hint=f"there are: {', '.join(usable) or 'none'}",
        )
    return usable[name].spoil(plan)


def _result(
    request: RunRequest, plan: Plan, evidence: Evidence, record: Record, place: OpenPlace
) -> Result:
    verdict = judge(plan, evidence, record.left)
    guest = evidence.guests[0] if evidence.guests else None
    return Result(
        topology=plan.topology,
        title=plan.title,
        outcome=verdict.outcome,
        status=verdict.status,
        date=record.date,
        place=request.on.place,
        sabotage=request.sabotage,
        accelerator=Accelerators(
            labhost=place.accelerator, guest=guest.accelerator if guest else None
        ),
        versions=Versions(
            labhost_qemu=place.qemu_version,
            qemu=evidence.qemu,
            host_kernel=evidence.host_kernel,
            guest_kernel=guest.kernel if guest else None,
        ),
        machine=_machines(evidence),
        checks=verdict.checks,
        paths=paths_in(plan, evidence),
        costs=costs_in(plan, evidence),
        life=lives_in(plan, evidence),
        commands=commands_in(evidence),
        qmp={guest.name: tuple(commands(plan, guest.name).splitlines()) for guest in plan.guests},
        timings={**record.timings, "total": round(record.seconds, 3)},
    )


def _machines(evidence: Evidence) -> Machines:
    seen = evidence.machine
    if seen is None:
        return Machines(here=machine.cpu())
    return Machines(here=machine.cpu(), cpu=seen.cpu, clock_source=seen.clock_source)


def _failed(request: RunRequest, draft: Plan, record: Record, error: LabError) -> Result:
    """What is known of a run that ended early."""
    known = {
        "title": draft.title,
        "date": record.date,
        "sabotage": request.sabotage,
        "timings": {**record.timings, "total": round(record.seconds, 3)},
    }
    return failed_result(draft.topology, request.on.place, error).model_copy(update=known)


@contextmanager
def _told_when_interrupted(record: Record) -> Iterator[None]:
    """Every clean-up has happened by the time that Ctrl-C gets here."""
    try:
        yield
    except KeyboardInterrupt:
        told = f"interrupted during {record.where}; nothing was left behind"
        raise InterruptedRunError(told) from None

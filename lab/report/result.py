"""The result of a run: the document that ``--json`` prints (docs/json.md), schema 1."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from lab.data import Data
from lab.errors import LabError, TopologyError
from lab.evidence.carrier import CarrierEvidence
from lab.evidence.whole import Evidence
from lab.plan.data import Carrier, Direction, Place, Plan, Port
from lab.plan.where import HOST
from lab.report.carrier import carried_by, carrier_words
from lab.report.costs import Costs
from lab.report.life import Life
from lab.report.path import PathHop, paths_of
from lab.report.verdict import Check, Outcome


class Accelerators(Data):
    """What the lab host and its guests ran on; ``None`` where there was none, or before it ran."""

    labhost: Literal["kvm", "tcg"] | None = None
    guest: Literal["kvm", "tcg"] | None = None


class Versions(Data):
    """Which QEMUs and kernels took part; ``labhost_qemu`` is the one that ran the lab host."""

    labhost_qemu: str | None = None
    qemu: str | None = None
    host_kernel: str | None = None
    guest_kernel: str | None = None


class Machines(Data):
    """What times depend on. ``here`` is the CPU of this machine, the rest is of the place.

    In a lab host ``cpu`` is the one that its QEMU shows it.
    """

    here: str
    cpu: str | None = None
    clock_source: str | None = None


class ResultPath(Data):
    """One marked probe's way.

    ``carrier`` is who moved the packets as far as the counters tell, ``words`` says it plainly.
    ``port`` is the host's port among the hops, by the place's own word; ``None`` where there is
    none, as with VFIO.
    """

    probe: str
    direction: Direction
    guest: str
    nic: str
    driver: str | None
    carrier: Carrier | None
    words: str
    port: Port | None = None
    hops: tuple[PathHop, ...]


class Problem(Data):
    """Why a run ended before its verdict; ``kind`` is the class of `lab.errors`."""

    kind: str
    message: str
    hint: str = ""
    status: int
    mistakes: tuple[str, ...] = ()
    argv: tuple[str, ...] = ()
    returncode: int | None = None
    output: str = ""


class Result(Data):
    """One run, from its topology to its verdict.

    ``date`` is when it began, ISO 8601. ``costs`` maps ``GUEST.NIC`` to what its packets cost,
    ``commands`` each guest to the QEMU command line that ran, ``qmp`` to the commands by which its
    NICs came, ``artifacts`` names to paths, ``timings`` stages to seconds. ``sabotage`` names the
    fault that was asked for. ``life`` are the time lines of traced packets, where a trace was asked
    for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    version: Literal[1] = Field(default=1, alias="schema")
    topology: str
    title: str = ""
    outcome: Outcome
    status: int
    date: str = ""
    place: Place = Place.LABHOST
    sabotage: str | None = None
    accelerator: Accelerators = Accelerators()
    versions: Versions = Versions()
    machine: Machines | None = None
    checks: tuple[Check, ...] = ()
    paths: tuple[ResultPath, ...] = ()
    costs: dict[str, Costs] = Field(default_factory=dict)
    commands: dict[str, str] = Field(default_factory=dict)
    qmp: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    life: tuple[Life, ...] = ()
    artifacts: dict[str, str] = Field(default_factory=dict)
    timings: dict[str, float] = Field(default_factory=dict)
    error: Problem | None = None

    def document(self) -> str:
        """The JSON text; a run without an error has no key ``error``."""
        exclude = set() if self.error else {"error"}
        return self.model_dump_json(by_alias=True, indent=2, exclude=exclude)


def paths_in(plan: Plan, evidence: Evidence) -> tuple[ResultPath, ...]:
    """The ways of all marked probes, with what the guest and the counters said of their NIC."""
    carriers = _carriers(evidence)
    drivers = {(guest.name, nic.id): nic.driver for guest in evidence.guests for nic in guest.nics}
    return tuple(
        ResultPath(
            probe=path.probe,
            direction=path.direction,
            guest=path.guest,
            nic=path.nic,
            driver=drivers.get((path.guest, path.nic)),
            carrier=carried_by(seen) if (seen := carriers.get((path.guest, path.nic))) else None,
            words=carrier_words(seen) if seen else "",
            port=_port(plan, path.hops),
            hops=path.hops,
        )
        for expectation in plan.expectations
        for path in paths_of(expectation, evidence)
    )


def commands_in(evidence: Evidence) -> dict[str, str]:
    """The QEMU command line of each guest as it ran, of one that migrated both."""
    commands = {guest.name: guest.command for guest in evidence.guests}
    return commands | (evidence.migration.commands if evidence.migration else {})


def problem_of(error: LabError) -> Problem:
    """An error as data; ``kind`` is its class."""
    mistakes = error.mistakes if isinstance(error, TopologyError) else ()
    return Problem(
        kind=type(error).__name__,
        message=error.message,
        hint=error.hint,
        status=error.status,
        mistakes=tuple(str(mistake) for mistake in mistakes),
        argv=error.argv,
        returncode=error.returncode,
        output=error.output,
    )


def failed_result(topology: str, place: Place, error: LabError) -> Result:
    """The result of a run that ended before its verdict."""
    return Result(
        topology=topology,
        outcome=Outcome.ERROR,
        status=error.status,
        place=place,
        error=problem_of(error),
    )


def _port(plan: Plan, hops: tuple[PathHop, ...]) -> Port | None:
    devices = {hop.device for hop in hops if hop.where == HOST}
    return next((port for port in plan.facts.ports if port.device in devices), None)


def _carriers(evidence: Evidence) -> dict[tuple[str, str], CarrierEvidence]:
    return {(seen.guest, seen.nic): seen for seen in evidence.carriers if seen.round_trips}

"""Where a plan is carried out: something that takes a plan and gives events back.

What can be decided before a place is opened is decided with the facts of `facts_of`; once it is
open, its own ``facts`` are the final ones. Those of a lab host are the same.

What belongs to this machine is imported where it is asked for: netlink takes 0.3 s, and a run in a
lab host needs it inside alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import ValidationError

from lab import machine
from lab.artifacts import CONSOLE_FILE
from lab.errors import CannotError, StartError, UsageError
from lab.events import EVENT, Event
from lab.here.ports import Ports
from lab.images import cache
from lab.images.build import ensure
from lab.labhost.accelerator import Choice
from lab.labhost.labhost import Labhost, open_labhost
from lab.labhost.machine import GUESTS_MIB
from lab.labhost.setup import Images
from lab.model.topology import Topology
from lab.pci import PciFunction, read_functions
from lab.plan.data import Facts, Place, Plan
from lab.plan.memory import require_memory
from lab.plan.places import labhost_facts
from lab.record import Record
from lab.rundir import open_rundir

if TYPE_CHECKING:
    from lab.here.place import Here

_NOT_HERE = "leave out --on here"
_ENTRY = "lab.inside:main"
_PCI_ENTRY = "lab.inside:pci"
# A lab host that is silent for so long (under KVM; scaled by its accelerator) stands still: it says
# every ten seconds that it runs (`lab.inside`). What it does has deadlines of its own inside.
_SILENCE_SECONDS = 30.0


class OpenPlace(Protocol):
    """A place that is ready. ``accelerator`` and ``qemu_version`` are those of a lab host."""

    @property
    def facts(self) -> Facts: ...

    @property
    def accelerator(self) -> str | None: ...

    @property
    def qemu_version(self) -> str | None: ...

    def carry(self, plan: Plan, *, keep: bool = False) -> Iterator[tuple[Event, bytes]]:
        """Carry out a plan; yields its events with their attachments.

        With ``keep`` all is held at the event `Held` until `go_on`.
        """

    def go_on(self) -> None:
        """Let a plan that is held be undone."""

    def pci(self) -> tuple[PciFunction, ...]:
        """The place's PCI functions."""

    def shell(self) -> None:
        """Give the terminal to a root shell in the place."""


@dataclass(frozen=True)
class WantedPlace:
    """The place that a run asks for. ``ports`` are for this machine alone."""

    place: Place = Place.LABHOST
    accelerator: Choice = Choice.AUTO
    ports: Ports = field(default_factory=Ports)


def facts_of(wanted: WantedPlace) -> Facts:
    """What is known of the place before it is open.

    Raises CannotError, UsageError for ports that cannot be used.
    """
    if wanted.place is Place.HERE:
        from lab.here.place import check_ports, first_facts  # noqa: PLC0415

        check_ports(wanted.ports)
        return first_facts(wanted.ports)
    if wanted.ports.lent:
        raise UsageError(
            "--uplink and --tester are ports of this machine: a lab host has its own",
            hint="add --on here",
        )
    return labhost_facts()


def check(topology: Topology, wanted: WantedPlace) -> None:
    """Raise CannotError where the place can be known to lack what the topology needs."""
    if wanted.place is Place.HERE:
        from lab.here.features import require  # noqa: PLC0415

        require(topology)
        require_memory(topology, machine.available_mib(), "this machine")
    else:
        require_memory(topology, GUESTS_MIB, "a lab host")


@contextmanager
def open_place(
    wanted: WantedPlace,
    facts: Facts,
    record: Record,
    beginning: str | None = None,
    save: Callable[[str, bytes], None] = lambda _name, _content: None,
) -> Iterator[OpenPlace]:
    """Yield the place, ready, its images built if need be; it is gone at the end.

    ``beginning`` is what a lab host is to be kept with: see `lab.plan.beginning`. ``save`` takes
    what is worth keeping of a lab host that failed, by the name of a file.
    """
    with record.stage("images"):
        images = Images(
            labhost=ensure("labhost", record.listener),
            guest=ensure("guest", record.listener),
            cache=cache.default().top,
        )
    choice, emit = wanted.accelerator, record.emit
    with open_rundir() as folder:
        if wanted.place is Place.HERE:
            from lab.here.place import final_facts, open_here  # noqa: PLC0415

            final = final_facts(facts, images, choice, folder, emit)
            with open_here(final, wanted.ports, folder) as here:
                yield HerePlace(here)
        else:
            with (
                _console_saved(folder / CONSOLE_FILE, save),
                open_labhost(images, choice, folder, emit, beginning) as labhost,
            ):
                yield LabhostPlace(labhost, facts)


@contextmanager
def _console_saved(file: Path, save: Callable[[str, bytes], None]) -> Iterator[None]:
    """Where something ended early, what the lab host wrote on its console until then is kept."""
    try:
        yield
    except StartError:
        with suppress(OSError, CannotError):  # the first error is the one to be told
            if console := file.read_bytes():
                save(file.name, console)
        raise


class HerePlace:
    """This machine as a place."""

    accelerator = None
    qemu_version = None

    def __init__(self, here: Here) -> None:
        self._here = here

    @property
    def facts(self) -> Facts:
        return self._here.facts

    def carry(self, plan: Plan, *, keep: bool = False) -> Iterator[tuple[Event, bytes]]:
        if keep:
            raise UsageError("nothing of a run on this machine is kept", hint=_NOT_HERE)
        for event, attachment in self._here.call(plan):
            yield _checked(event), attachment

    def go_on(self) -> None:
        raise UsageError("nothing of a run on this machine is kept", hint=_NOT_HERE)

    def pci(self) -> tuple[PciFunction, ...]:
        return read_functions()

    def shell(self) -> None:
        raise UsageError("nothing of a run on this machine is kept", hint=_NOT_HERE)


class LabhostPlace:
    """A lab host as a place."""

    def __init__(self, labhost: Labhost, facts: Facts) -> None:
        self._labhost = labhost
        self._facts = facts

    @property
    def facts(self) -> Facts:
        return self._facts

    @property
    def accelerator(self) -> str | None:
        return self._labhost.accelerator.value

    @property
    def qemu_version(self) -> str | None:
        return self._labhost.qemu_version

    def carry(self, plan: Plan, *, keep: bool = False) -> Iterator[tuple[Event, bytes]]:
        argument = {"plan": plan.model_dump(mode="json"), "wall": time.time(), "keep": keep}
        for event, attachment in self._labhost.carry(_ENTRY, argument, _SILENCE_SECONDS):
            yield _checked(event), attachment

    def go_on(self) -> None:
        self._labhost.machine.channel.say("go on")

    def pci(self) -> tuple[PciFunction, ...]:
        answers = self._labhost.call(_PCI_ENTRY, {}, _SILENCE_SECONDS)
        return tuple(
            PciFunction.model_validate(function)
            for answer, _ in answers
            for function in answer["functions"]
        )

    def shell(self) -> None:
        self._labhost.shell()


def _checked(event: Any) -> Event:
    try:
        return EVENT.validate_python(event)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]["msg"]
        raise StartError(
            f"the other side sent an event that the lab does not know: {first}"
        ) from error

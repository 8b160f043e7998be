"""Where a plan is carried out: something that takes a plan and gives events back."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from pydantic import ValidationError

from lab.errors import CannotError, StartError
from lab.events import EVENT, Event
from lab.images import cache
from lab.images.build import ensure
from lab.labhost.accelerator import Choice
from lab.labhost.labhost import Labhost, open_labhost
from lab.labhost.setup import Images
from lab.pci import PciFunction
from lab.plan.data import Facts, Place, Plan
from lab.plan.places import labhost_facts
from lab.record import Listener, Record
from lab.rundir import open_rundir

_ENTRY = "lab.inside:main"
_PCI_ENTRY = "lab.inside:pci"
# The longest silence in a run under KVM, in seconds: a guest's boot, which has a deadline of its
# own inside and reports more when that passes. The lab host scales it by its accelerator.
_SILENCE_SECONDS = 20.0


class OpenPlace(Protocol):
    """A place that is ready. ``accelerator`` and ``qemu_version`` are those of a lab host."""

    @property
    def accelerator(self) -> str | None: ...

    @property
    def qemu_version(self) -> str | None: ...

    def carry(self, plan: Plan) -> Iterator[tuple[Event, bytes]]:
        """Carry out a plan; yields its events with their attachments."""

    def pci(self) -> tuple[PciFunction, ...]:
        """The place's PCI functions."""

    def shell(self) -> None:
        """Give the terminal to a root shell in the place."""


def facts_of(place: Place) -> Facts:
    """What a plan for ``place`` has to know. Raises CannotError for a place that cannot be used."""
    if place is Place.HERE:
        raise CannotError(
            "plans are not carried out on this machine's own kernel yet",
            hint="leave out --on here: a lab host needs no root and changes nothing here",
        )
    return labhost_facts(secrets.token_hex(4))


@contextmanager
def open_place(choice: Choice, record: Record, listener: Listener) -> Iterator[OpenPlace]:
    """Yield a running lab host, its images built if need be; it is gone at the end."""
    with record.stage("images"):
        images = Images(
            labhost=ensure("labhost", listener),
            guest=ensure("guest", listener),
            cache=cache.default().top,
        )
    with open_rundir() as folder, open_labhost(images, choice, folder, record.emit) as labhost:
        yield LabhostPlace(labhost)


class LabhostPlace:
    """A lab host as a place."""

    def __init__(self, labhost: Labhost) -> None:
        self._labhost = labhost

    @property
    def accelerator(self) -> str | None:
        return self._labhost.accelerator.value

    @property
    def qemu_version(self) -> str | None:
        return self._labhost.qemu_version

    def carry(self, plan: Plan) -> Iterator[tuple[Event, bytes]]:
        argument = {"plan": plan.model_dump(mode="json"), "wall": time.time()}
        for event, attachment in self._labhost.call(_ENTRY, argument, _SILENCE_SECONDS):
            yield _checked(event), attachment

    def pci(self) -> tuple[PciFunction, ...]:
        answers = self._labhost.call(_PCI_ENTRY, {}, _SILENCE_SECONDS)
        return tuple(
            PciFunction.model_validate(function)
            for answer, _ in answers
            for function in answer["functions"]
        )

    def shell(self) -> None:
        self._labhost.shell()


def _checked(event: object) -> Event:
    try:
        return EVENT.validate_python(event)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]["msg"]
        raise StartError(
            f"the lab host sent an event that the lab does not know: {first}"
        ) from error

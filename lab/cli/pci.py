"""``lab pci``."""

from __future__ import annotations

import json as json_format
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from lab.cli.options import Json
from lab.errors import CannotError
from lab.labhost.accelerator import Choice
from lab.pci import PciFunction, read_functions
from lab.places import WantedPlace, facts_of, open_place
from lab.plan.data import Place
from lab.record import Record
from lab.report.pcitree import tree_lines
from lab.report.screen import Screen


def pci(
    *,
    on: Annotated[Place, Parameter(help="A disposable lab host, or this machine itself.")] = (
        Place.LABHOST
    ),
    accel: Annotated[Choice, Parameter(help="What the lab host runs on.")] = Choice.AUTO,
    json: Json = False,
) -> int:
    """Show the PCI functions as a tree: IOMMU groups, drivers, network devices, SR-IOV."""
    functions = read_functions() if on is Place.HERE else _in_a_labhost(accel)
    if not functions:
        raise CannotError("there is no PCI here", hint="leave out --on here: a lab host has PCI")
    if json:
        print(json_format.dumps([each.model_dump(mode="json") for each in functions], indent=2))
    else:
        print("\n".join(tree_lines(functions)))
    return 0


def _in_a_labhost(accel: Choice) -> tuple[PciFunction, ...]:
    wanted = WantedPlace(accelerator=accel)
    with (
        Screen(Console(stderr=True)) as screen,
        open_place(wanted, facts_of(wanted), Record(screen)) as place,
    ):
        return place.pci()

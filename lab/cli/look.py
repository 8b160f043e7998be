"""Verbs that only look: nothing is started, built or changed."""

from __future__ import annotations

import json as json_format
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from lab.cli.options import AttachOption, Json, Set, Topology, settings
from lab.data import Data
from lab.errors import UsageError
from lab.model.load import load_topology, names, topology_parameters
from lab.model.topology import Topology as TopologyFile
from lab.plan import sabotage
from lab.plan.build import build
from lab.plan.data import Attach, Plan
from lab.plan.hotplug import hotplugged
from lab.plan.places import labhost_facts
from lab.plan.script import command, commands, script
from lab.report.result import Result
from lab.report.rungs import Ladder


def topologies(*, json: Json = False) -> int:
    """List the topologies that come with the lab, with what --set may change."""
    titles = {name: load_topology(name, {}).title for name in names()}
    parameters = {
        name: {found.name: found.default for found in topology_parameters(name)} for name in titles
    }
    if json:
        rows = [
            {"name": name, "title": title, "parameters": parameters[name]}
            for name, title in titles.items()
        ]
        print(json_format.dumps(rows, indent=2))
        return 0
    table = _table("topology", "title", "parameters")
    for name, title in titles.items():
        table.add_row(name, title, " ".join(map(_assigned, parameters[name].items())))
    _print(table)
    return 0


def cmdline(
    topology: Topology,
    /,
    *,
    set_: Set = (),
    attach: AttachOption = Attach.COLD,
    guest: Annotated[str | None, Parameter(help="Only this guest's QEMU line.")] = None,
) -> int:
    """Print a topology as a shell script: bridge, taps, fds and the QEMU line of each guest."""
    plan = _plan(topology, set_, attach)
    if guest is None:
        print(script(plan), end="")
        return 0
    targets = (plan.migration.target,) if plan.migration else ()
    guests = [planned.name for planned in (*plan.guests, *targets)]
    if guest not in guests:
        raise UsageError(f"{topology} has no guest {guest!r}", hint=f"it has {', '.join(guests)}")
    print("\n".join(filter(None, (command(plan, guest), commands(plan, guest)))))
    return 0


def sabotages(topology: Topology, /, *, set_: Set = (), attach: AttachOption = Attach.COLD) -> int:
    """List the faults that `lab run --sabotage` can build into a topology."""
    table = _table("sabotage", "turns red", "what it does")
    for fault in sabotage.applicable(_plan(topology, set_, attach)):
        table.add_row(fault.name, fault.check, fault.sentence)
    _print(table)
    return 0


def schema(kind: Literal["topology", "result", "ladder"] = "topology", /) -> int:
    """Print the JSON schema of topology files, or of a document that the lab prints.

    Parameters
    ----------
    kind
        Which of them.
    """
    models: dict[str, type[Data]] = {"topology": TopologyFile, "result": Result, "ladder": Ladder}
    model = models[kind]
    print(json_format.dumps(model.model_json_schema(), indent=2))
    return 0


def _plan(topology: str, words: tuple[str, ...], attach: Attach) -> Plan:
    plan = build(load_topology(topology, settings(words)), labhost_facts())
    return hotplugged(plan) if attach is Attach.HOTPLUG else plan


def _assigned(parameter: tuple[str, str | None]) -> str:
    """``NAME=DEFAULT``; the name alone where the file gives no constant."""
    name, default = parameter
    return name if default is None else f"{name}={default}"


def _table(*titles: str) -> Table:
    table = Table(*titles, box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.columns[0].no_wrap = True
    return table


def _print(table: Table) -> None:
    Console().print(table)

"""``lab trace``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from lab.cli.options import Json, Set, Topology, settings
from lab.cli.run import Watcher
from lab.places import WantedPlace
from lab.run import RunRequest, TraceRequest
from lab.run import run as run_request


def trace(  # noqa: PLR0913  one parameter per option
    topology: Topology,
    /,
    *,
    set_: Set = (),
    json: Json = False,
    nic: Annotated[str | None, Parameter(help="GUEST or GUEST.NIC; the first by default.")] = None,
    size: Annotated[int | None, Parameter(help="Length of the frames, by default the largest.")] = None,
    out: Annotated[Path | None, Parameter(help="Folder for the results.")] = None,
    sabotage: Annotated[str | None, Parameter(help="Build a fault in.")] = None,
) -> int:
    """Follow one packet to the guest and back, step by step."""
    request = RunRequest(
        topology=topology, settings=settings(set_), on=WantedPlace(), sabotage=sabotage, out=out,
        trace=TraceRequest(nic, size),
    )
    watcher = Watcher(Console(stderr=json), json=json)
    with watcher:
        result = run_request(request, watcher)
    watcher.finish(result)
    return result.status

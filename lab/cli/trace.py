"""``lab trace``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lab.cli.options import Json, Set, Tester, Topology, Uplink, settings
from lab.cli.run import carry_out
from lab.errors import CannotError, UsageError
from lab.here.ports import Ports
from lab.labhost.accelerator import Choice
from lab.places import WantedPlace
from lab.plan.data import Place
from lab.report.life import Life, told
from lab.report.trace.perfetto import perfetto as perfetto_json
from lab.run import RunRequest, TraceRequest


def trace(  # noqa: PLR0913  one parameter per option
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
    nic: Annotated[
        str | None, Parameter(help="GUEST or GUEST.NIC, by default the first one.")
    ] = None,
    size: Annotated[
        int | None, Parameter(help="Bytes of the frame, by default as many as the MTU allows.")
    ] = None,
    perfetto: Annotated[
        Path | None, Parameter(help="Write the time line for ui.perfetto.dev here, too.")
    ] = None,
    out: Annotated[Path | None, Parameter(help="Folder for the results.")] = None,
    sabotage: Annotated[
        str | None, Parameter(help="Build a fault in, to see where the packet gets lost.")
    ] = None,
) -> int:
    """Follow one packet to the guest and back, step by step."""
    if perfetto and not perfetto.absolute().parent.is_dir():
        raise UsageError(f"there is no folder {perfetto.absolute().parent}")
    request = RunRequest(
        topology=topology,
        settings=settings(set_),
        on=WantedPlace(on, accel, Ports(uplink, tester)),
        sabotage=sabotage,
        trace=TraceRequest(nic, size),
        out=out,
    )
    result = carry_out(request, json=json)
    for life in told(result.life)[:1]:
        if perfetto:
            _write(perfetto, life)
    return result.status


def _write(file: Path, life: Life) -> None:
    try:
        file.write_text(perfetto_json(life))
    except OSError as error:
        raise CannotError(f"{file} cannot be written: {error.strerror}") from error

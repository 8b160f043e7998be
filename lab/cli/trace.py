"""``lab trace``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from lab.cli.options import AttachOption, Fresh, Json, Set, Tester, Topology, Uplink, settings
from lab.cli.report import check_page, write_page
from lab.cli.run import carry_out
from lab.errors import LabError
from lab.here.ports import Ports
from lab.labhost.accelerator import Choice
from lab.places import WantedPlace
from lab.plan.data import Attach, Place
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
    attach: AttachOption = Attach.COLD,
    nic: Annotated[
        str | None, Parameter(help="GUEST or GUEST.NIC, by default the first one.")
    ] = None,
    size: Annotated[
        int | None, Parameter(help="Bytes of the frame, by default as many as the MTU allows.")
    ] = None,
    perfetto: Annotated[
        Path | None, Parameter(help="Write the time line for ui.perfetto.dev here, too.")
    ] = None,
    fresh: Fresh = False,
    out: Annotated[Path | None, Parameter(help="Folder for the results.")] = None,
    sabotage: Annotated[
        str | None, Parameter(help="Build a fault in, to see where the packet gets lost.")
    ] = None,
) -> int:
    """Follow one packet to the guest and back, step by step."""
    if perfetto:
        check_page(perfetto)
    request = RunRequest(
        topology=topology,
        settings=settings(set_),
        on=WantedPlace(on, accel, Ports(uplink, tester)),
        sabotage=sabotage,
        attach=attach,
        trace=TraceRequest(nic, size),
        out=out,
        fresh=fresh,
    )
    result = carry_out(request, json=json)
    if perfetto:
        _write(perfetto, told(result.life))
    return result.status


def _write(file: Path, lives: tuple[Life, ...]) -> None:
    """The first of those that are shown."""
    if not lives:
        raise LabError(f"{file} is not written: no packet was seen on its way")
    write_page(file, perfetto_json(lives[0]))

"""``lab ladder``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number
from rich.console import Console

from lab.cli.images import build_images
from lab.cli.options import Fresh, Json
from lab.cli.report import check_page, write_page
from lab.events import Stage
from lab.labhost.accelerator import Choice
from lab.ladder import LAYERS, Climbed, LadderRequest, climb, ladder_of
from lab.plan.data import CostLevel, Place
from lab.report.html.page import ladder_page
from lab.report.ladder_terminal import show
from lab.report.result import Result
from lab.report.screen import Screen
from lab.results import open_results
from lab.runs import check
from lab.saved import save_ladder

_NAMES = "Names or files, from the top; by default the whole ladder."


def ladder(  # noqa: PLR0913  one parameter per option
    *topologies: Annotated[str, Parameter(help=_NAMES)],
    rounds: Annotated[
        int, Parameter(validator=Number(gte=1, lte=20), help="How often each layer is run.")
    ] = LadderRequest.rounds,
    jobs: Annotated[
        int, Parameter(validator=Number(gte=1), help="How many runs at a time.")
    ] = LadderRequest.jobs,
    costs: Annotated[
        CostLevel, Parameter(help="brief: no TCP; full: rates without loss too.")
    ] = LadderRequest.costs,
    on: Annotated[Place, Parameter(help="Disposable lab hosts, or this machine itself.")] = (
        Place.LABHOST
    ),
    accel: Annotated[Choice, Parameter(help="What lab hosts or guests run on.")] = Choice.AUTO,
    fresh: Fresh = False,
    json: Json = False,
    html: Annotated[Path | None, Parameter(help="Also write its page to this file.")] = None,
    out: Annotated[Path | None, Parameter(help="Folder for the results.")] = None,
) -> int:
    """Run all layers in turn and show what each takes out of the path."""
    if html:
        check_page(html)
    began = time.monotonic()
    wanted = topologies or LAYERS
    check(wanted)
    console = Console(stderr=json)
    with open_results(out, "ladder") as folder:
        with Screen(console) as screen:
            build_images(screen)
            request = LadderRequest(folder.make(), wanted, rounds, jobs, costs, on, accel, fresh)
            runs = climb(
                request,
                lambda climbed: screen.event(Stage(name=_stage(climbed, request))),
                lambda climbed, result: screen.event(_ended(climbed, result, request)),
            )
        found = ladder_of(runs, request, time.monotonic() - began)
        save_ladder(found, folder)
    if html:
        write_page(html, ladder_page(found, str(html.absolute().parent)))
    if json:
        print(found.document(), flush=True)
    else:
        show(found, console)
    return found.status


def _stage(climbed: Climbed, request: LadderRequest) -> str:
    return f"{climbed.name} {climbed.round}/{request.rounds}"


def _ended(climbed: Climbed, result: Result, request: LadderRequest) -> Stage:
    seconds = result.timings.get("total", 0.0)
    return Stage(name=_stage(climbed, request), seconds=seconds, detail=result.outcome.value)

"""``lab down``."""

from __future__ import annotations

import os
from typing import Annotated

from lab.cli.options import flag
from lab.errors import CannotError, UsageError
from lab.here.orphans import sweep_traces
from lab.host.lend import give_back_orphans


def down(
    *,
    orphans: Annotated[
        bool, flag("Put back what killed runs of --on here had, and remove what they left.")
    ] = False,
) -> int:
    """Put back the ports of this machine that killed runs had borrowed; remove their traces.

    Runs that are alive keep theirs.
    """
    if not orphans:
        raise UsageError(
            "a run takes everything down by itself; only what killed ones left is taken down here",
            hint="lab down --orphans",
        )
    if os.geteuid() != 0:
        raise CannotError(
            "only root can put back what a run had", hint='sudo "$(command -v lab)" down --orphans'
        )
    ports = give_back_orphans()
    traces = sweep_traces()
    if ports.names:
        print(f"put back: {', '.join(ports.names)}")
    if traces:
        print(f"removed: tracing instances of killed runs ({traces})")
    ports.check()
    if not ports.names and not traces:
        print("nothing was left behind")
    return 0

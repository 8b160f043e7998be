"""``lab down``."""

from __future__ import annotations

import os
from typing import Annotated

from lab.cli.options import flag
from lab.errors import CannotError, UsageError
from lab.host.lend import give_back_orphans


def down(
    *, orphans: Annotated[bool, flag("Put back what killed runs of --on here had.")] = False
) -> int:
    """Put back the ports of this machine that a killed run had borrowed.

    Runs that are alive keep theirs.
    """
    if not orphans:
        raise UsageError(
            "a run takes everything down by itself; only what killed ones left is taken down here",
            hint="lab down --orphans",
        )
    if os.geteuid() != 0:
        raise CannotError(
            "only root can put ports back", hint='sudo "$(command -v lab)" down --orphans'
        )
    names = give_back_orphans()
    print(f"put back: {', '.join(names)}" if names else "nothing was left behind")
    return 0

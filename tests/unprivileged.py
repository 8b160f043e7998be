"""A folder that an ordinary user may not enter, whoever runs the tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NOBODY = 65534


@contextmanager
def closed(folder: Path) -> Iterator[Path]:
    """Make a folder that nobody may enter; root's rights are given up for the block."""
    folder.mkdir()
    folder.chmod(0)
    for above in folder.parents:
        if above.name.startswith(("pytest-", "test_")):  # pytest's own are for their owner alone
            above.chmod(0o755)
    root = os.geteuid() == 0
    if root:
        os.setresuid(_NOBODY, _NOBODY, 0)  # access(2) asks for the real user
    try:
        yield folder
    finally:
        if root:
            os.setresuid(0, 0, 0)
        folder.chmod(0o700)

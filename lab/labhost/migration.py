"""Saving and restoring the lab host's state over QMP, as a file laid out like its memory.

Capability ``mapped-ram`` gives every page a fixed place in a sparse file, ``multifd`` writes and
reads with several threads (QEMU: docs/devel/migration/mapped-ram). Both sides must agree.
"""

from __future__ import annotations

import time
from pathlib import Path

from lab.errors import LabError, StartError
from lab.qmp import Event, Qmp, RefusedError

_CAPABILITIES = ("mapped-ram", "multifd", "events")
_ENDED = ("completed", "failed", "cancelled")


class MigrationError(LabError):
    """QEMU could not write or read the state, for example because the disk is full."""


def save(qmp: Qmp, file: Path, seconds: float) -> None:
    """Write the machine's state to ``file``; it stands still meanwhile, and runs again on return.

    Raises MigrationError with QEMU's reason, StartError when QEMU is gone or silent for
    ``seconds``.
    """
    qmp.execute("stop", timeout=seconds)
    try:
        _prepare(qmp)
        # Its default is for a network: 128 MiB a second.
        qmp.execute("migrate-set-parameters", {"max-bandwidth": 0})
        qmp.execute("migrate", _channel(file), timeout=seconds)
        _finish(qmp, seconds)
    except RefusedError as error:
        raise MigrationError(error.message) from error
    finally:
        _finalized(qmp, seconds)
        qmp.execute("cont", timeout=seconds)


def restore(qmp: Qmp, file: Path, seconds: float) -> None:
    """Load the state from ``file`` into a QEMU that was started with ``-incoming defer``, and run.

    Raises LabError when QEMU refuses the file, StartError when it is gone or silent for
    ``seconds``.
    """
    _prepare(qmp)
    qmp.execute("migrate-incoming", _channel(file), timeout=seconds)
    _finish(qmp, seconds)
    qmp.execute("cont", timeout=seconds)


def _prepare(qmp: Qmp) -> None:
    capabilities = [{"capability": name, "state": True} for name in _CAPABILITIES]
    qmp.execute("migrate-set-capabilities", {"capabilities": capabilities})


def _channel(file: Path) -> dict[str, object]:
    """The long form: a path inside an URI would need escaping."""
    address = {"transport": "file", "filename": str(file), "offset": 0}
    return {"channels": [{"channel-type": "main", "addr": address}]}


def _finish(qmp: Qmp, seconds: float) -> None:
    event = qmp.wait_event("MIGRATION", seconds, _has_ended)
    if event["status"] != "completed":
        reason = qmp.execute("query-migrate").get("error-desc", event["status"])
        raise MigrationError(str(reason))


def _finalized(qmp: Qmp, seconds: float) -> None:
    """QEMU tells the end of a migration a moment before it lets the machine go on, and tells nobody
    when that is over (qmp_cont refuses while its run state is finish-migrate)."""
    deadline = time.monotonic() + seconds
    while qmp.execute("query-status", timeout=seconds)["status"] == "finish-migrate":
        if time.monotonic() > deadline:
            raise StartError(f"the migration was not finalized within {seconds:.0f} s")


def _has_ended(data: Event) -> bool:
    return data["status"] in _ENDED

"""What a failed build program meant, as one line with a hint."""

from __future__ import annotations

import errno
import shlex
from collections.abc import Sequence
from pathlib import Path

from lab.errors import CannotError, LabError, StartError
from lab.images.sources import VARIABLE

_DISK = ("No space left on device", "You don't have enough free space", "Disk quota exceeded")
_NETWORK = (
    "Temporary failure resolving",
    "Could not resolve",
    "Could not connect",
    "Unable to connect",
    "Connection failed",
    "Connection timed out",
    "Network is unreachable",
    "Failed to fetch",
)
_SIGNATURE = ("GPG error", "is not signed", "signatures were invalid", "NO_PUBKEY")


def explain(command: Sequence[str], returncode: int, output: str) -> LabError:
    """The error to raise for a program that ended with ``returncode`` and said ``output``."""
    if any(text in output for text in _DISK):
        return disk_full("the image build")
    first = _first_complaint(output)
    if any(text in output for text in _SIGNATURE):
        return CannotError(
            f"a package index is not signed by Debian's keys: {first}",
            hint="apt-get install debian-archive-keyring, or name another mirror: "
            f"{VARIABLE}=http://HOST/debian",
        )
    if any(text in output for text in _NETWORK):
        return CannotError(
            f"the package mirror cannot be reached: {first}",
            hint=f"check the network, or name another mirror: {VARIABLE}=http://HOST/debian",
        )
    return StartError(
        f"{Path(command[0]).name} failed: {first or shlex.join(command[:4])}",
        argv=command,
        returncode=returncode,
        output=output,
    )


def disk_full(what: str, folder: Path | None = None) -> CannotError:
    """The one line for a full disk."""
    place = f" under {folder}" if folder else ""
    return CannotError(
        f"no space left on the disk{place} for {what}",
        hint="free some, run `lab images prune`, or point XDG_CACHE_HOME at another disk",
    )


def is_disk_full(error: OSError) -> bool:
    """Whether an OSError says that nothing more can be written."""
    return error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def _first_complaint(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    marked = [line[2:].strip() for line in lines if line.startswith(("E:", "W:"))]
    return (marked or lines or [""])[0]

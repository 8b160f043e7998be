"""One Debian package of a resolution."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Package(BaseModel):
    """A package exactly as apt's signed index names it; ``bytes`` is the size of its file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    version: str
    file: str
    bytes: int
    sha256: str

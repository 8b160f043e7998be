"""The base of everything that is data here: frozen, closed to unknown keys, and the same as JSON.

Topology, plan, evidence and verdict are such records. They cross the border to the lab host as
JSON, so tuples stand where lists would: a frozen record with a list inside is not frozen.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Data(BaseModel):
    """One record."""

    model_config = ConfigDict(frozen=True, extra="forbid")

"""The cable of a run on this machine."""

from __future__ import annotations

from dataclasses import dataclass

from lab.plan.where import HOST, WIRE


@dataclass(frozen=True)
class Ports:
    """Two ports of the machine, joined by a cable; without names a veth pair stands for them."""

    uplink: str = ""
    tester: str = ""

    @property
    def lent(self) -> dict[str, str]:
        """Devices by the place that they go to."""
        return {HOST: self.uplink, WIRE: self.tester} if self.uplink else {}

"""What QEMU says of one of its NICs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from lab.probe.carrier import carrier_evidence
from lab.probe.costs import Costing
from lab.probe.qemu import Qemu, virtio_status
from tests.unit.test_probe_exits import PROBE, window

SERIAL = "/machine/peripheral-anon/device[1]/virtio-backend"
QEMU = Qemu(pid=9, files={}, threads={}, vcpus=frozenset(), vhosts=dict[int, str](), interrupts={})


@dataclass
class Monitor:
    """A QEMU whose virtio devices are the agent's port and these NICs; vhost runs for some."""

    vhost: Mapping[str, bool]

    def execute(self, command: str, arguments: Mapping[str, object] | None = None) -> Any:
        nics = {f"/machine/peripheral/{nic}/virtio-backend": on for nic, on in self.vhost.items()}
        if command == "x-query-virtio":
            return [{"path": path} for path in (SERIAL, *nics)]
        assert arguments is not None
        path = arguments["path"]
        return {"path": path, "vhost-started": path in nics and nics[str(path)]}


@pytest.mark.parametrize("nic", ["nic0", "machine", "peripheral", "peripheral-anon", "virtio"])
def test_a_nic_is_found_whatever_it_is_called(nic: str) -> None:
    monitor = Monitor({"other": False, nic: True})
    assert virtio_status(monitor, nic)["path"] == f"/machine/peripheral/{nic}/virtio-backend"
    probe = PROBE.model_copy(update={"nic": nic})
    seen = carrier_evidence(probe, QEMU, monitor, Costing(kvm=True, windows=[window(5)]))
    assert seen.vhost_in_qmp is True


@pytest.mark.parametrize("nic", ["machine", "nic1"])
def test_of_a_nic_that_is_not_virtio_nothing_is_said(nic: str) -> None:
    assert virtio_status(Monitor({"nic10": True}), nic) is None

"""What a topology needs of a machine's own kernel."""

from __future__ import annotations

import pytest

from lab.errors import CannotError
from lab.here import features
from lab.here.features import Feature, MissingFeatureError, need, require
from lab.model.load import load_topology

ALWAYS = {Feature.ROOT, Feature.NAMESPACES, Feature.VETH, Feature.TRACING}


@pytest.mark.parametrize(
    ("name", "settings", "more"),
    [
        ("e1000", {}, {Feature.BRIDGE, Feature.TAP}),
        ("vhost", {}, {Feature.BRIDGE, Feature.TAP, Feature.VHOST}),
        ("macvtap", {"vhost": "off"}, {Feature.MACVTAP}),
        ("passthrough", {}, {Feature.VFIO}),
        ("sriov", {}, {Feature.VFIO, Feature.SRIOV}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_needs_follow_from_the_topology(
    name: str, settings: dict[str, str], more: set[Feature]
) -> None:
    assert ALWAYS | more <= set(need(load_topology(name, settings)))
    assert not ({Feature.VHOST, Feature.VFIO, Feature.SRIOV} - more) & set(
        need(load_topology(name, settings))
    )


def test_all_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(wanted: tuple[Feature, ...]) -> dict[Feature, MissingFeatureError | None]:
        lacks = {Feature.VHOST, Feature.TAP}
        return {
            each: MissingFeatureError(f"no {each}", hint=f"get {each}") if each in lacks else None
            for each in wanted
        }

    monkeypatch.setattr(features, "look", lacking)
    with pytest.raises(CannotError) as told:
        require(load_topology("vhost", {}))
    assert told.value.message == "vhost cannot run on this machine itself: no tap; no vhost_net"
    assert told.value.hint.startswith("get tap ")
    assert told.value.status == 3


def test_pci_devices_of_the_machine_are_not_given_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "look", dict.fromkeys)
    with pytest.raises(CannotError, match="its own PCI devices are not given away"):
        require(load_topology("passthrough", {}))
    require(load_topology("vhost", {}))

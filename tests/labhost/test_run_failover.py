"""A guest with a VF and a standby migrates: the whole way, each way it can end, and its faults."""

from __future__ import annotations

import pytest

from tests.labhost.runs import Outcome

MOVE = {"refused", "pair", "migration", "standby", "primary", "stream.lost", "stream.downtime"}

pytestmark = pytest.mark.labhost


@pytest.mark.parametrize("words", ["failover"])
def test_the_guest_moves_and_gets_a_vf_again(outcome: Outcome) -> None:
    document = outcome.document
    assert (outcome.status, outcome.red) == (0, set()), document
    assert {each["name"] for each in document["checks"]} >= {*MOVE, "announce"}
    assert "VFIO migration is not supported" in outcome.observed("refused")
    assert "through tap0" in outcome.observed("standby")
    assert "through the VF" in outcome.observed("primary")
    assert "QEMU says" in outcome.observed("stream.downtime")
    assert document["commands"].keys() == {"guest", "guest-target"}
    assert "failover_pair_id=standby" in document["commands"]["guest-target"]
    assert "migration.pcapng" in document["artifacts"]
    assert {path["carrier"] for path in document["paths"]} == {"vfio"}
    for step in ("without failover", "let go of its VF", "the target runs", "the VF is back"):
        assert step in outcome.said
    assert "huge pages" not in outcome.said


@pytest.mark.parametrize("words", ["failover vf_on_target=no"])
def test_without_a_vf_there_the_standby_goes_on(outcome: Outcome) -> None:
    assert (outcome.status, outcome.red) == (0, set()), outcome.document
    assert "eth1 alone" in outcome.observed("primary")
    (path,) = outcome.document["paths"][:1]
    assert [hop["hop"] for hop in path["hops"]] == ["wire", "spare3", "br1", "tap", "guest"]
    assert {path["carrier"] for path in outcome.document["paths"]} == {"qemu"}


@pytest.mark.parametrize("words", ["failover abort=yes"])
def test_an_abort_leaves_the_source_whole(outcome: Outcome) -> None:
    """The path is proved after the abort, on the source."""
    assert (outcome.status, outcome.red) == (0, set()), outcome.document
    names = {each["name"] for each in outcome.document["checks"]}
    assert names >= MOVE
    assert "announce" not in names
    assert outcome.observed("migration").startswith("cancelled")
    assert outcome.observed("migration").endswith("runs on source")
    assert {path["carrier"] for path in outcome.document["paths"]} == {"vfio"}


@pytest.mark.parametrize(
    ("words", "check"),
    [
        ("failover --sabotage no-vf-there", "primary"),
        ("failover --sabotage other-mac", "pair"),
        ("failover --sabotage no-announcement", "announce"),
        ("failover --sabotage standby-cut", "standby"),
        ("failover --sabotage lossy-standby", "stream.lost"),
        ("failover --sabotage long-pause", "stream.downtime"),
        ("failover --sabotage vf-hidden", "refused"),
        ("failover --sabotage other-end", "migration"),
        ("failover abort=yes --sabotage other-end", "migration"),
        ("failover vf_on_target=no --sabotage vhost-on", "carrier"),
        ("failover vf_on_target=no --sabotage vf-there", "primary"),
    ],
)
def test_a_sabotage_turns_exactly_its_check_red(check: str, outcome: Outcome) -> None:
    assert outcome.red == {check}, outcome.document
    assert outcome.status == 1

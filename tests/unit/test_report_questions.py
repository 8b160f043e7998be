"""Who meets whom: a "no" counts only beside a control that arrived; and what a host must not have.

one --(br0)-- two: one must not reach two, the wire does; the host reaches one.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lab.evidence.guest import NicEvidence
from lab.evidence.host import Device
from lab.evidence.packets import Asked, Seen
from lab.evidence.whole import Evidence
from lab.plan.data import End, Plan, Question
from lab.report.judge import judge
from lab.report.verdict import Check, Outcome
from tests import sample

WIRE = End(name="wire", where="wire", device="eth1", address="10.77.0.1")
HOST = End(name="host", where="host", device="br0", address="10.77.0.2")
ONE = End(name="one", where="one", nic="nic0", mac="52:54:00:00:00:11", address="10.77.0.11")
TWO = End(name="two", where="two", nic="nic0", mac="52:54:00:00:00:12", address="10.77.0.12")

APART = "one.two.unicast"
CONTROL = "wire.two.unicast"
TOGETHER = "host.one.unicast"

Change = Callable[[Evidence], Evidence]


def plan() -> Plan:
    def question(source: End, target: End, arrives: bool | None, control: str = "") -> Question:
        name = f"{source.name}.{target.name}.unicast"
        return Question(
            name=name,
            source=source,
            target=target,
            kind="unicast",
            arrives=arrives,
            control=control,
        )

    questions = (
        question(ONE, TWO, False, CONTROL),
        question(HOST, ONE, True),
        question(WIRE, TWO, None),
    )
    expectation = sample.EXPECTATION.model_copy(update={"absent": ("macvtap", "bridge")})
    return sample.plan(expectation).model_copy(update={"questions": questions})


def evidence() -> Evidence:
    """As it should be; guest two calls its NIC eth1."""
    good = sample.evidence()
    guests = tuple(
        good.guests[0].model_copy(
            update={
                "name": name,
                "nics": (NicEvidence(id="nic0", device=device, driver="virtio_net", mac=""),),
            }
        )
        for name, device in (("one", "eth0"), ("two", "eth1"))
    )
    return good.model_copy(
        update={
            "guests": (*good.guests, *guests),
            "asked": (
                asked(APART, seen("one", "eth0", out=True), seen("host", "br0")),
                asked(TOGETHER, seen("host", "br0", out=True), seen("one", "eth0")),
                asked(CONTROL, seen("wire", "eth1", out=True), seen("two", "eth1")),
            ),
            "devices": tuple(
                Device(name=name, kind=kind)
                for name, kind in (("eth0", ""), ("br0", "vlan"), ("tap0", "tap"))
            ),
        }
    )


def asked(question: str, *places: Seen) -> Asked:
    return Asked(question=question, seen=places)


def seen(where: str, device: str, *, out: bool = False) -> Seen:
    return Seen(where=where, device=device, outgoing=out)


def answer(question: str, *places: Seen) -> Change:
    """The evidence with another answer to one question."""

    def change(before: Evidence) -> Evidence:
        others = [each for each in before.asked if each.question != question]
        return before.model_copy(update={"asked": (*others, asked(question, *places))})

    return change


def devices(**kinds: str) -> Change:
    found = tuple(Device(name=name, kind=kind) for name, kind in kinds.items())
    return lambda before: before.model_copy(update={"devices": found})


def without(name: str) -> Change:
    return lambda before: before.model_copy(
        update={"asked": tuple(each for each in before.asked if each.question != name)}
    )


def checks(change: Change = lambda before: before) -> dict[str, Check]:
    found = judge(plan(), change(evidence()), ()).checks
    return {each.name: each for each in found}


def test_good_answers_pass_and_controls_are_no_checks() -> None:
    found = checks()
    assert {name for name in found if name.startswith("meet.")} == {
        f"meet.{APART}",
        f"meet.{TOGETHER}",
    }
    assert {each.outcome for each in found.values()} == {Outcome.PASS}
    assert found[f"meet.{APART}"].observed == "did not arrive, while unicast wire > two did"
    assert found["absent"].observed == "none among 3 devices"


@pytest.mark.parametrize(
    ("name", "outcome", "words", "change"),
    [
        (
            f"meet.{APART}",
            Outcome.FAIL,
            "arrived",
            answer(APART, seen("one", "eth0", out=True), seen("two", "eth1")),
        ),
        (
            f"meet.{TOGETHER}",
            Outcome.FAIL,
            "one did not see it",
            answer(TOGETHER, seen("host", "br0", out=True)),
        ),
        (
            f"meet.{APART}",
            Outcome.ERROR,
            "its control unicast wire > two did not arrive either",
            answer(CONTROL, seen("wire", "eth1", out=True)),
        ),
        (
            f"meet.{APART}",
            Outcome.ERROR,
            "its control unicast wire > two did not arrive either",
            # Another NIC of the same guest, and a frame that it sends itself.
            answer(CONTROL, seen("two", "eth0"), seen("two", "eth1", out=True)),
        ),
        (f"meet.{APART}", Outcome.ERROR, "one was not seen to send it", answer(APART)),
        (f"meet.{TOGETHER}", Outcome.ERROR, "host was not seen to send it", answer(TOGETHER)),
        (f"meet.{APART}", Outcome.ERROR, "one > two was not asked", without(APART)),
        (f"meet.{APART}", Outcome.ERROR, "wire > two was not asked", without(CONTROL)),
        ("absent", Outcome.FAIL, "br7 (bridge)", devices(eth0="", br0="", tap0="", br7="bridge")),
        ("absent", Outcome.FAIL, "m0 (macvtap)", devices(eth0="", br0="", tap0="", m0="macvtap")),
        ("absent", Outcome.ERROR, "were not listed", devices()),
        ("absent", Outcome.ERROR, "lacks br0, tap0", devices(eth0="")),
    ],
)
def test_one_wrong_thing_turns_exactly_its_check_red(
    name: str, outcome: Outcome, words: str, change: Change
) -> None:
    red = {key: each for key, each in checks(change).items() if not each.outcome.green}
    assert set(red) == {name}
    assert red[name].outcome is outcome
    assert words in red[name].observed


def test_a_guest_that_names_its_nic_otherwise_is_found() -> None:
    """The sample's probe was seen at guest:eth0; the guest says that its NIC is called eth5."""
    before = sample.evidence()
    nics = tuple(nic.model_copy(update={"device": "eth5"}) for nic in before.guests[0].nics)
    renamed = before.model_copy(
        update={"guests": (before.guests[0].model_copy(update={"nics": nics}),)}
    )
    red = [each for each in judge(sample.plan(), renamed, ()).checks if not each.outcome.green]
    assert [(each.name, each.observed) for each in red] == [
        ("hops.in", "not seen at guest"),
        ("hops.out", "not seen at guest"),
    ]

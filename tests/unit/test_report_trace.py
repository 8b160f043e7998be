"""A packet's life, from traces that were recorded in lab hosts."""

from __future__ import annotations

import io
from itertools import pairwise

import pytest
from rich.console import Console

from lab.evidence.life import LifeEvidence
from lab.plan.data import Direction, Plan
from lab.plan.hotplug import hotplugged
from lab.report.judge import judge
from lab.report.life import Actor, Life, told
from lab.report.trace.events import parse
from lab.report.trace.stops import stops
from lab.report.trace.table import show_life
from lab.report.trace.timeline import lives_in
from lab.report.verdict import Outcome
from tests import lives
from tests.golden_file import GOLDEN, compare

WHOLE = ("vhost", "virtio", "e1000", "macvtap", "passthrough", "sriov")
BOTH = [(name, kind) for name in lives.TOPOLOGIES for kind in ("icmp", "hop")]


def shown(life: Life, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    show_life(life, console)
    assert isinstance(console.file, io.StringIO)
    return "".join(f"{line.rstrip()}\n" for line in console.file.getvalue().splitlines())


def outcomes(name: str, change: lives.Change | None = None) -> dict[str, Outcome]:
    """Of the checks that a trace has."""
    verdict = judge(lives.plan(name), lives.evidence(name, change), ())
    return {each.name: each.outcome for each in verdict.checks if each.name.startswith("trace.")}


def whats(life: Life) -> list[str]:
    return [step.what for step in life.steps]


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", lives.TOPOLOGIES)
def test_shown(name: str, width: int) -> None:
    (life, *_) = told(tuple(lives.life(name, kind) for kind in ("icmp", "hop")))
    text = shown(life, width)
    assert max(map(len, text.splitlines())) <= width
    compare(GOLDEN / "life" / f"{name}-{width}.txt", text)


@pytest.mark.parametrize("name", ["vhost", "mtu"])
def test_the_documentation_shows_what_is_shown(name: str) -> None:
    shown = (GOLDEN / "life" / f"{name}-80.txt").read_text(encoding="utf-8")
    assert shown in (GOLDEN.parents[1] / "docs/trace.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "kind"), BOTH)
def test_steps_are_in_order_and_spans_have_no_gaps(name: str, kind: str) -> None:
    life = lives.life(name, kind)
    assert life.steps[0].time_ns == 0
    assert life.steps[-1].time_ns == life.duration_ns
    assert all(before.time_ns <= after.time_ns for before, after in pairwise(life.steps))
    assert life.spans[0].begin_ns == 0
    assert life.spans[-1].end_ns == life.duration_ns
    assert all(before.end_ns == after.begin_ns for before, after in pairwise(life.spans))
    held = [(span.actor, span.leg) for span in life.spans]
    assert all(before != after for before, after in pairwise(held))
    assert held.count((Actor.GUEST, Direction.OUT)) <= 1


@pytest.mark.parametrize("name", WHOLE)
def test_a_round_trip_begins_and_ends_at_the_tester(name: str) -> None:
    life = lives.life(name)
    assert life.loss is None
    assert (life.steps[0].where, life.steps[-1].where) == ("wire", "wire")
    assert life.steps[-1].what == "the tester's kernel has the answer"
    turn = next(number for number, step in enumerate(life.steps) if step.leg is Direction.OUT)
    assert all(step.leg is Direction.OUT for step in life.steps[turn:])
    assert sum(step.where == life.guest for step in life.steps) == 2


@pytest.mark.parametrize("name", WHOLE)
def test_a_round_trip_fits_a_projector(name: str) -> None:
    assert 10 <= len(lives.life(name).steps) <= 30


def test_with_vhost_qemu_never_has_the_packet() -> None:
    life = lives.life("vhost")
    actors = [span.actor for span in life.spans]
    assert Actor.QEMU not in actors
    assert actors.count(Actor.VHOST) == 2
    (kick,) = (step for step in life.steps if step.what.startswith("kick"))
    assert kick.what.endswith("to an eventfd")
    assert any("copies it into guest memory" in what for what in whats(life))


def test_without_vhost_qemu_reads_and_writes_the_tap() -> None:
    life = lives.life("virtio")
    assert Actor.VHOST not in {span.actor for span in life.spans}
    assert {"QEMU reads it from tap0", "QEMU writes the answer into tap0"} <= set(whats(life))


def test_an_emulated_nic_stops_the_guest_for_qemu_at_its_registers() -> None:
    life = lives.life("e1000")
    stopped = [step for step in life.steps if "to QEMU:" in step.what]
    assert sum(step.count for step in stopped) >= 2
    assert all(step.strong for step in stopped)
    (kick,) = (step for step in life.steps if step.what.startswith("kick"))
    assert kick.what.endswith("to QEMU")


def test_on_macvtap_no_bridge_and_no_tap_appears() -> None:
    text = " ".join(whats(lives.life("macvtap")))
    assert "macvtap0" in text
    assert "forwards" not in text
    assert "tap0 " not in text.replace("macvtap0", "")


@pytest.mark.parametrize("name", ["passthrough", "sriov"])
def test_of_a_nic_that_was_given_away_the_host_sees_interrupts_only(name: str) -> None:
    life = lives.life(name)
    assert not any(step.where == "host" and step.device for step in life.steps)
    assert any(step.what.startswith("interrupt vfio-") for step in life.steps)
    assert "nothing but the interrupts" in life.notes[0]
    assert lives.life("vhost").notes == ()


def test_a_frame_larger_than_the_ports_mtu_is_named_from_the_mtu_that_was_read() -> None:
    loss = lives.life("mtu").loss
    assert loss is not None
    assert (loss.function, loss.reason) == ("br_dev_queue_push_xmit", "NOT_SPECIFIED")
    assert loss.seen_at == "br0 ingress (port eth0)"
    assert "larger than the port's MTU (1500 bytes, tap0 takes 1400)" in loss.words
    dropped = sum(grown for each in loss.counters for grown in _trouble(each.grown))
    assert {each.device for each in loss.counters} == {"eth1", "eth0", "br0", "tap0"}
    assert dropped == 0


def test_the_same_drop_with_mtus_that_are_large_enough_has_no_reason() -> None:
    loss = lives.life("mtu", change=_mtu(1496)).loss  # and a VLAN tag's four bytes
    assert loss is not None
    assert loss.words.endswith("dropped in br_dev_queue_push_xmit: the kernel gives no reason")
    loss = lives.life("mtu", change=_mtu(1495)).loss
    assert loss is not None
    assert loss.words.endswith("larger than the port's MTU (1500 bytes, tap0 takes 1495)")


def test_a_tc_filter_is_named_and_where() -> None:
    loss = lives.life("drop", "hop").loss
    assert loss is not None
    assert (loss.seen_at, loss.reason) == ("eth0 ingress", "TC_INGRESS")
    assert loss.words.endswith("a tc filter drops what comes in through the device")


def test_a_reason_without_words_is_shown_by_its_name() -> None:
    change = lives.replaced("reason: TC_INGRESS", "reason: NEW_REASON")
    loss = lives.life("drop", "hop", change).loss
    assert loss is not None
    assert loss.words.endswith("the kernel calls the reason NEW_REASON")


def test_a_packet_that_vanishes_without_a_drop_is_said_to() -> None:
    loss = lives.life("mtu", change=lives.without("kfree_skb")).loss
    assert loss is not None
    assert loss.words == "last seen at eth0 ingress; the host's kernel dropped nothing"


def test_a_packet_that_was_made_into_another_is_not_called_dropped() -> None:
    old = "kfree_skb: skbaddr="
    change = lives.replaced(old, "consume_skb: skbaddr=")
    loss = lives.life("mtu", change=change).loss
    assert loss is not None
    assert loss.reason == "CONSUMED"
    assert "consumed in br_dev_queue_push_xmit: it was made into something else" in loss.words


def test_an_echo_that_comes_back_too_late_is_lost_on_its_way_back() -> None:
    loss = lives.life("vhost", change=_unanswered("netif_receive_skb: dev=eth1")).loss
    assert loss is not None
    assert loss.leg is Direction.OUT
    assert loss.seen_at == "eth0 egress"


def test_a_packet_that_nobody_saw_leave_the_guest_was_last_seen_there() -> None:
    outside = ("dev=eth1", "dev=tap0 ", "dev=eth0 ")
    change = _unanswered(*(f"netif_receive_skb: {device}" for device in outside[:2]))

    def only_in(seen: LifeEvidence) -> LifeEvidence:
        seen = change(seen)
        sightings = tuple(each for each in seen.sightings if each.where != "guest")
        own = tuple(e for e in seen.sightings if e.where == "guest" and not e.outgoing)
        events = _before_the_kick(seen.events)
        return seen.model_copy(update={"sightings": (*sightings, *own), "events": events})

    loss = lives.life("vhost", change=only_in).loss
    assert loss is not None
    assert loss.words.startswith("last seen at eth0 of guest; ")


@pytest.mark.parametrize("name", WHOLE)
def test_packets_that_arrive_are_green(name: str) -> None:
    assert set(outcomes(name).values()) == {Outcome.PASS}


def test_a_lost_packet_turns_its_own_check_red() -> None:
    assert outcomes("drop") == {"trace.echo": Outcome.PASS, "trace.probe": Outcome.FAIL}
    assert outcomes("mtu") == {"trace.echo": Outcome.FAIL, "trace.probe": Outcome.FAIL}


def test_without_events_nothing_is_proved() -> None:
    missing = dict.fromkeys(("trace.echo", "trace.probe"), Outcome.ERROR)
    assert outcomes("vhost", lives.without("dev=eth1")) == missing
    evidence = lives.evidence("vhost").model_copy(update={"lives": ()})
    checks = {each.name: each.outcome for each in judge(lives.plan("vhost"), evidence, ()).checks}
    assert checks.items() >= missing.items()


def test_an_answer_whose_way_back_was_not_recorded_is_an_error() -> None:
    found = outcomes("vhost", lives.without("netif_receive_skb: dev=eth1"))
    assert found["trace.echo"] is Outcome.ERROR


def test_a_run_without_a_trace_has_no_such_checks() -> None:
    plan = lives.plan("vhost").model_copy(update={"trace": None})
    names = [each.name for each in judge(plan, lives.evidence("vhost"), ()).checks]
    assert not any(name.startswith("trace.") for name in names)


@pytest.mark.parametrize("name", WHOLE)
def test_a_topology_that_names_no_hops_has_the_same_steps(name: str) -> None:
    (echo, _) = lives_in(unnamed(name), lives.evidence(name))
    assert whats(echo) == whats(lives.life(name))


def unnamed(name: str) -> Plan:
    """The plan of a recorded life, whose topology names no hops."""
    plan = lives.plan(name)
    assert plan.trace is not None
    return plan.model_copy(update={"trace": plan.trace.model_copy(update={"hops": ()})})


def beside(plan: Plan) -> Plan:
    """The plan with somebody else's bridge on another port."""
    return plan.model_copy(update={"operations": (*plan.operations, lives.PORT)})


@pytest.mark.parametrize("named", [True, False], ids=["hops named", "no hops"])
@pytest.mark.parametrize("name", lives.TOPOLOGIES)
def test_a_port_that_only_hears_the_cable_has_no_part_in_a_life(name: str, named: bool) -> None:
    plan = lives.plan(name) if named else unnamed(name)
    alone = lives_in(plan, lives.evidence(name))
    assert lives_in(beside(plan), lives.evidence(name, lives.also_heard)) == alone


@pytest.mark.parametrize("name", ["mtu", "drop"])
def test_a_packet_that_got_lost_has_the_same_steps_where_no_hops_are_named(name: str) -> None:
    for found in lives_in(unnamed(name), lives.evidence(name)):
        named = lives.life(name, found.kind)
        assert whats(found) == whats(named)
        assert found.notes == named.notes == ()
        if found.loss and named.loss:
            assert found.loss.words == named.loss.words
            assert "counters" in shown(named, 80)
            assert "counter" not in shown(found, 80)


@pytest.mark.parametrize("name", ["passthrough", "vhost"], ids=["the VF", "the standby"])
def test_of_a_pair_that_names_no_hops_the_interrupts_say_who_carries(name: str) -> None:
    plan = unnamed("vhost")
    standby = plan.guests[0].nics[0].model_copy(update={"failover": True})
    guest = plan.guests[0].model_copy(update={"nics": (standby,)})
    (echo, _) = lives_in(plan.model_copy(update={"guests": (guest,)}), lives.evidence(name))
    assert whats(echo) == whats(lives.life(name))


@pytest.mark.parametrize("name", lives.TOPOLOGIES)
def test_a_nic_that_was_plugged_in_has_the_same_life(name: str) -> None:
    evidence = lives.evidence(name)
    assert lives_in(hotplugged(unnamed(name)), evidence) == lives_in(unnamed(name), evidence)


def test_of_events_with_one_stamp_the_last_is_the_later_one() -> None:
    line = "qemu-9 [000] ..... 1.000001: net_dev_queue: dev={}"
    found = parse(map(line.format, ("eth0", "eth1"))).last("net_dev_queue", 0)
    assert found is not None
    assert found.device == "eth1"


def test_without_a_common_clock_the_guests_stamps_are_left_out() -> None:
    evidence = lives.evidence("vhost").model_copy(update={"clocks": ()})
    (echo, probe) = lives_in(lives.plan("vhost"), evidence)
    assert (echo.loss, probe.loss) == (None, None)
    assert not any(step.where == "guest" for step in (*echo.steps, *probe.steps))


def test_a_guest_without_kvm_has_no_exits_and_the_trace_says_so() -> None:
    evidence = lives.evidence("virtio", lives.without(": kvm_"))
    (guest,) = (each.model_copy(update={"accelerator": "tcg"}) for each in evidence.guests)
    evidence = evidence.model_copy(update={"guests": (guest,)})
    (echo, _) = lives_in(lives.plan("virtio"), evidence)
    assert echo.loss is None
    assert echo.notes == ("no exits and no injections are seen: the guest runs without KVM",)
    assert sum(step.where == "guest" for step in echo.steps) == 2


def test_lines_of_any_thread_are_read() -> None:
    (first, second) = parse(
        (
            "# tracer: nop",
            "     kworker/u8:3-events-77      [012] dNh4.  100.000001: sched_waking: comm=a pid=1",
            "           <...>-213     [000] b.s1.    36.684007: net_dev_queue: dev=eth0.5 len=98",
        )
    ).events
    assert (first.thread, first.tid, first.cpu) == ("kworker/u8:3-events", 77, 12)
    assert (first.time_ns, first.context) == (100_000_001_000, "hardirq")
    assert (second.device, second.context) == ("eth0.5", "softirq")


def test_stops_are_read_on_both_makes_of_cpu() -> None:
    trace = parse(
        f" qemu-9 [000] d..1. 1.{micros:06}: {text}"
        for micros, text in enumerate(
            (
                "kvm_exit: vcpu 0 reason EPT_MISCONFIG rip 0x1 info1 0x0",
                "kvm_fast_mmio: fast mmio at gpa 0xfe003000",
                "kvm_entry: vcpu 0, rip 0x1",
                "kvm_exit: reason io rip 0x1 info1 0x0",
                "kvm_pio: pio_read at 0xc050 size 1 count 1 val 0x0",
                "kvm_userspace_exit: reason KVM_EXIT_IO (2)",
                "kvm_entry: vcpu 0, rip 0x1",
                "kvm_exit: vcpu 0 reason hlt rip 0x1",
            )
        )
    )
    (kick, port, halt) = stops(trace, 9, 0, None)
    assert (kick.access, kick.to_qemu, kick.written) == ("write 0xfe003000", "", True)
    assert (port.access, port.to_qemu, port.written) == ("read 0xc050", "IO", False)
    assert (halt.reason, halt.access, halt.end_ns) == ("hlt", "", None)


def _trouble(grown: dict[str, int]) -> list[int]:
    return [by for name, by in grown.items() if "drop" in name or "err" in name]


def _mtu(mtu: int) -> lives.Change:
    def change(seen: LifeEvidence) -> LifeEvidence:
        before = tuple(
            link.model_copy(update={"mtu": mtu}) if link.device == "tap0" else link
            for link in seen.before
        )
        return seen.model_copy(update={"before": before})

    return change


def _unanswered(*words: str) -> lives.Change:
    def change(seen: LifeEvidence) -> LifeEvidence:
        return lives.without(*words)(seen).model_copy(update={"answered": False})

    return change


def _before_the_kick(events: tuple[str, ...]) -> tuple[str, ...]:
    kick = next(number for number, line in enumerate(events) if "kvm_mmio: mmio write" in line)
    return events[:kick]

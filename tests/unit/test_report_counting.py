"""From windows to counts per packet."""

from __future__ import annotations

from typing import Any

import pytest

from lab.evidence.costs import CostsEvidence, CostWindow, DueEvidence, TcpEvidence, Trial
from lab.evidence.guest import NicEvidence
from lab.evidence.whole import Evidence
from lab.plan.data import Carrier, Expectation, FunctionPlan
from lab.report.costs import Costs, Counted, Tcp
from lab.report.counting import costs_in, typical
from tests import sample

GROUPS: dict[str, dict[str, int]] = {
    "exits": {"npf": 5, "hlt": 10, "msr": 2},
    "exits_to_qemu": {"KVM_EXIT_MMIO": 3},
    "exits_timing": {"interrupt": 1},
    "timer_writes": {"timer": 2},
    "mmio_writes": {"slow": 5},
    "qemu_syscalls": {"read tap": 10, "writev tap": 5, "ppoll": 6},
    "vhost_wakeups": {"12": 10},
    "softirq_ns": {"net_rx": 10_000},
}
IDLE: dict[str, dict[str, int]] = {**{group: {} for group in GROUPS}, "qemu_syscalls": {"ppoll": 2}}
CPU = {"cpu_qemu_ns": {"all": 30_000}}


def window(pattern: str = "ping-pong", **changes: Any) -> CostWindow:
    values = {
        "pattern": pattern,
        "traced": True,
        "packets": 0 if pattern == "idle" else 10,
        "seconds": 0.01,
        "counters": IDLE if pattern == "idle" else GROUPS,
        "trips_ns": (3_000_000,) * 5 if pattern == "ping-pong" else (),
    }
    return CostWindow.model_validate(values | changes)


WINDOWS = (
    window("idle", traced=False, counters={"cpu_qemu_ns": {"all": 20_000}}, seconds=0.02),
    window(traced=False, counters=CPU, trips_ns=(2_000_000,)),
    *(window() for _ in range(8)),
    window("idle"),
    window("burst", counters={**GROUPS, "mmio_writes": {"slow": 2}}, packets=64),
)


def costs(driver: str = "virtio_net", expected: Expectation | None = None, **changes: Any) -> Costs:
    values = {"guest": "guest", "nic": "net0", "kvm": True, "burst": 32, "windows": WINDOWS}
    seen = CostsEvidence.model_validate(values | changes)
    plan = sample.plan(expected or sample.EXPECTATION)
    (found,) = costs_in(plan, around(seen, driver)).values()
    return found


def around(seen: CostsEvidence, driver: str) -> Evidence:
    good = sample.evidence()
    nic = NicEvidence(id="net0", device="eth0", driver=driver, mac="52:54:00:00:00:01")
    guests = (good.guests[0].model_copy(update={"nics": (nic,)}),)
    carrier = sample.carrier(Carrier.VFIO if driver == "igb" else Carrier.QEMU)
    return good.model_copy(update={"guests": guests, "costs": (seen,), "carriers": (carrier,)})


def counted(found: Costs, pattern: str = "ping-pong") -> Counted:
    (one,) = (each for each in found.counted if each.pattern == pattern)
    return one


def means(found: Costs, pattern: str = "ping-pong") -> dict[str, float]:
    return {name: count.mean for name, count in counted(found, pattern).counts.items()}


def test_counts_are_per_packet_and_without_what_idle_time_has() -> None:
    assert means(costs()) == {
        "exits_to_qemu": 0.3,
        "exits_kernel_only": 1.2,
        "exits_timing": 0.3,
        "kicks": 1.0,
        "qemu_syscalls": 1.9,
        "vhost_wakeups": 1.0,
        "cpu_qemu_us": 2.0,
        "cpu_softirq_us": 1.0,
    }
    one = counted(costs())
    assert (one.windows, one.packets, one.burst) == (8, 10, 1)
    assert one.reasons == {
        "exits_to_qemu": {"MMIO": 0.3},
        "exits_kernel_only": {"hlt": 1.0, "npf": 0.2},
        "exits_timing": {"timer": 0.2, "interrupt": 0.1},
        "qemu_syscalls": {"read tap": 1.0, "writev tap": 0.5, "ppoll": 0.4},
    }


def test_bursts_are_apart() -> None:
    burst = counted(costs(), "burst")
    assert (burst.burst, burst.packets, burst.windows) == (32, 64, 1)
    assert burst.counts["kicks"].mean == pytest.approx(
        2 / 64, abs=1e-4
    )  # all packets of a burst are the guest's own


def test_a_disturbed_window_does_not_move_the_count() -> None:
    wild = window(counters={**GROUPS, "vhost_wakeups": {"12": 90}})
    few = window(counters={**GROUPS, "vhost_wakeups": {"12": 1}})
    found = counted(costs(windows=(*WINDOWS, wild, few))).counts["vhost_wakeups"]
    assert (found.mean, found.low, found.high) == (1.0, 0.1, 9.0)
    assert (found.lower, found.upper, found.steady) == (1.0, 1.0, True)


def test_where_few_windows_agree_it_is_the_mean_of_the_middle_half_and_a_range() -> None:
    assert typical([5.0]) == 5.0
    assert typical([0.0, 1.0, 3.0, 100.0]) == 2.0
    assert typical([1.0, 2.0, 2.01, 7.0]) == pytest.approx(2.005)
    assert typical([0.0] * 20 + [1.0] * 10 + [2.0] * 10 + [3.0] * 10) > 0.5
    wild = [window(counters={**GROUPS, "vhost_wakeups": {"12": each}}) for each in range(10, 18)]
    found = counted(costs(windows=(*wild, window("idle")))).counts["vhost_wakeups"]
    assert (found.mean, found.lower, found.upper, found.steady) == (1.35, 1.2, 1.5, False)


def test_what_happens_in_one_idle_window_alone_is_not_subtracted() -> None:
    tick = window("idle", counters={**IDLE, "vhost_wakeups": {"12": 4}})
    windows = (*(window() for _ in range(8)), *(window("idle") for _ in range(4)), tick)
    assert means(costs(windows=windows))["vhost_wakeups"] == 1.0


FUNCTION = FunctionPlan(pci="0000:01:00.0")


@pytest.mark.parametrize(
    ("driver", "function", "kicks"),
    [
        ("virtio_net", None, True),
        ("igb", FUNCTION, True),
        ("igb", None, False),
        ("e1000", None, False),
        ("e1000", FUNCTION, False),
    ],
    ids=["virtio", "VFIO", "emulated beside VFIO", "emulated", "emulated in a function's place"],
)
def test_only_where_a_write_is_a_kick_are_they_counted(
    driver: str, function: FunctionPlan | None, kicks: bool
) -> None:
    expected = sample.EXPECTATION.model_copy(update={"function": function})
    assert ("kicks" in means(costs(driver, expected))) is kicks


def test_what_is_less_than_idle_is_nothing() -> None:
    quiet = (window(counters={**GROUPS, "qemu_syscalls": {}}), window("idle"))
    count = counted(costs(windows=quiet)).counts["qemu_syscalls"]
    assert (count.mean, count.low, count.high) == (0, 0, 0)


def test_without_an_idle_window_nothing_is_subtracted() -> None:
    assert means(costs(windows=(window(),)))["qemu_syscalls"] == 2.1


def test_what_was_not_counted_is_absent_and_says_why() -> None:
    def without(window: CostWindow) -> CostWindow:
        gone = {"exits", "exits_to_qemu", "mmio_writes", "softirq_ns"}
        left = {group: n for group, n in window.counters.items() if group not in gone}
        return window.model_copy(update={"counters": left})

    windows = tuple(without(each) for each in WINDOWS)
    found = costs(kvm=False, windows=windows, unmeasured={"softirq_ns": "no irq events"})
    assert set(means(found)) == {"qemu_syscalls", "vhost_wakeups", "cpu_qemu_us"}
    assert found.not_measured["cpu_softirq_us"] == "no irq events"
    assert found.not_measured["exits_to_qemu"] == "the guest runs without KVM"
    assert "zero_loss" in found.not_measured


def test_tcp_alone_leaves_only_the_rates_unmeasured() -> None:
    tcp = TcpEvidence(in_bps=1e6, out_bps=2e6, transactions=10, seconds=0.5)
    assert set(costs(tcp=tcp).not_measured) == {"zero_loss"}
    assert set(costs().not_measured) == {"zero_loss", "tcp"}


def test_nothing_counted_says_why() -> None:
    found = costs(windows=(), missing=("echo 1 of 100 was not answered",))
    assert found.counted == ()
    assert found.not_measured["counted"] == "echo 1 of 100 was not answered"
    assert found.observer is None


def test_times_are_told_beside_what_watching_cost() -> None:
    due = DueEvidence(sent=4, pause_ns=2_000_000, trips_ns=(1_000_000, 2_000_000, 9_000_000))
    found = costs(due=due, settled_trips_ns=(2_000_000,))
    assert found.observer == 1.5
    assert costs(due=due).observer is None
    assert found.latency is not None
    assert (found.latency.sent, found.latency.lost) == (4, 1)
    assert (found.latency.rate_pps, found.latency.p50_us) == (500.0, 2000.0)
    assert (found.latency.p90_us, found.latency.max_us) == (7600.0, 9000.0)
    one = costs(due=DueEvidence(sent=1, pause_ns=1, trips_ns=(5000,))).latency
    assert one is not None
    assert {one.p50_us, one.p99_us, one.max_us} == {5.0}


def test_host_hops_are_the_devices_that_saw_the_marked_probe() -> None:
    assert costs().host_hops == 3
    assert costs().bystanders == ()


def trial(pps: float, lost: int = 0, *, size: int = 64, reached: bool = True) -> Trial:
    return Trial(size=size, pps=pps, sent=64, lost=lost, reached=reached)


def test_the_rate_without_loss_is_that_of_the_last_trial() -> None:
    trials = (
        *(trial(4000, 9), trial(2500), trial(3000, 1), trial(2500, 2), trial(2000)),
        *(trial(900, size=512, reached=False), trial(450, size=512), trial(450, size=512)),
        trial(100, 3, size=1518),
    )
    found = costs(trials=trials).zero_loss
    assert [(each.size, each.pps, each.trials) for each in found] == [
        (64, 2000.0, 5),
        (512, 450.0, 3),
        (1518, 0.0, 1),
    ]
    assert [each.tester_limited for each in found] == [False, True, False]


def test_what_is_lost_at_a_rate_that_the_tester_does_not_reach_is_lost() -> None:
    (found,) = costs(trials=(trial(900, 7, reached=False), trial(450), trial(450))).zero_loss
    assert (found.pps, found.tester_limited) == (450.0, False)


def test_tcp_is_told_in_megabits() -> None:
    tcp = TcpEvidence(in_bps=2e7, out_bps=1.5e6, transactions=100, seconds=0.5)
    found = costs(tcp=tcp, trials=(trial(10),))
    assert found.tcp == Tcp(in_mbit=20.0, out_mbit=1.5, transactions=200.0)
    assert "tcp" not in found.not_measured

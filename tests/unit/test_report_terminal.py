"""What is shown: complete, within 80 columns, and plain where there is no terminal."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable

import pytest
from rich.console import Console

from lab.errors import CannotError, StartError
from lab.events import Note, Stage
from lab.evidence.whole import Evidence
from lab.plan.data import Direction, Place
from lab.report.costs import Tcp, ZeroLoss
from lab.report.drawing import cells, duration, lines
from lab.report.result import Result, failed_result
from lab.report.screen import Screen
from lab.report.terminal import show
from tests import lives, pages, sample


def shown(result: Result, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    show(result, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def unseen(device: str) -> Evidence:
    evidence = sample.evidence()
    probes = tuple(
        probe.model_copy(
            update={"sightings": tuple(s for s in probe.sightings if s.device != device)}
        )
        for probe in evidence.probes
    )
    return evidence.model_copy(update={"probes": probes})


@pytest.mark.parametrize("spoil", [pages.full, pages.failing], ids=["pass", "fail"])
def test_nobody_elses_words_reach_the_terminal_as_commands(spoil: Callable[[], Result]) -> None:
    text = shown(pages.spoiled(spoil()), 2000)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e\u2066]", text)
    assert "\u2400\u2407\ufffd\ufffd\ufffd" in text


def test_path_is_drawn_both_ways() -> None:
    text = shown(sample.result())
    assert "wire ───▶ uplink ───▶ br0 ─────▶ tap0 ══vhost══▶ guest" in text
    assert "eth0 virtio_net" in text
    assert "same stamp" in text
    assert "+212.7 us ±14.0 us" in text
    assert "vhost-net in the host's kernel moved the packets" in text


def test_of_traced_packets_those_that_were_lost_are_shown() -> None:
    both = tuple(lives.life("mtu", kind) for kind in ("icmp", "hop"))
    whole = tuple(lives.life("vhost", kind) for kind in ("icmp", "hop"))
    lost = shown(sample.result().model_copy(update={"life": (whole[0], both[1])}))
    assert "marked UDP packet of 1514 bytes to guest.nic0: lost" in lost
    assert "there and back" not in lost
    fine = shown(sample.result().model_copy(update={"life": whole}))
    assert "an ICMP echo of 1514 bytes to guest.nic0: there and back in" in fine
    assert "marked UDP" not in fine


def test_paths_of_several_nics_say_whose_they_are() -> None:
    one = sample.result()
    assert "guest.net0" not in shown(one)
    others = tuple(path.model_copy(update={"guest": "other"}) for path in one.paths)
    text = shown(one.model_copy(update={"paths": (*one.paths, *others)}))
    assert 0 < text.index("guest.net0") < text.index("other.net0") < text.rindex("wire")


@pytest.mark.parametrize("result", [sample.result(), sample.result(unseen("tap0"))])
def test_80_columns_are_enough(result: Result) -> None:
    lines = shown(result).splitlines()
    assert max(map(len, lines)) <= 80
    assert all(character.isprintable() for line in lines for character in line)


def test_costs_are_a_table() -> None:
    lines = shown(sample.result()).splitlines()
    start = next(index for index, line in enumerate(lines) if "per packet" in line)
    assert [" ".join(line.split()) for line in lines[start : start + 9]] == [
        "per packet ping-pong bursts of 64 sent in ping-pong",
        "exits to QEMU 0.00 0.00",
        "exits, kernel only 1.50 0.01 1.00 hlt, 0.50 npf",
        "exits, timing 0.00 0.00",
        "kicks per packet sent 1.00 0.02",
        "QEMU system calls 0.00 0.00",
        "vhost wake-ups 1.00 0.20",
        "round trip p50 950 us, p90 2.1 ms, p99 2.4 ms, max 2.4 ms (3 at 500/s)",
        "under emulation: compare rows only, never with hardware",
    ]


def test_rates_and_several_nics() -> None:
    one = sample.result()
    (costs,) = one.costs.values()
    more = costs.model_copy(
        update={
            "tcp": Tcp(in_mbit=20.4, out_mbit=15.0, transactions=812.3),
            "zero_loss": (
                ZeroLoss(size=64, pps=900.0, trials=7),
                ZeroLoss(size=512, pps=800.0, trials=2, tester_limited=True),
            ),
            "observer": 1.254,
        }
    )
    accelerator = one.accelerator.model_copy(update={"labhost": "kvm"})
    text = shown(
        one.model_copy(
            update={"costs": {"one.nic0": more, "two.nic0": costs}, "accelerator": accelerator}
        )
    )
    assert "per packet of one.nic0" in text
    assert "per packet of two.nic0" in text
    assert "TCP in 20 Mbit/s, out 15 Mbit/s, 812 requests/s" in text
    assert "without loss, there and back: 900/s of 64 B, >= 800/s of 512 B" in text
    assert "counting made a round trip 1.25 times as long" in text
    assert "never with hardware" not in text


def test_narrow_screens_break_between_hops() -> None:
    path = sample.result().paths[0]
    assert max(map(len, shown(sample.result(), 50).splitlines())) < 80
    broken = list(lines(cells(path), 40))
    assert len(broken) > 1
    assert [cell for line in broken for cell in line] == list(cells(path))


def test_a_hop_that_did_not_see_the_probe_is_shown() -> None:
    text = shown(sample.result(unseen("tap0")))
    assert "br0 ╌╌╌" in text
    assert "not seen" in text
    assert "FAIL  hops.in" in text
    assert "FAIL  vhost: 2 of 17 checks red (hops.in, hops.out)" in text


def test_times_go_on_from_the_last_hop_that_saw_it() -> None:
    result = sample.result(unseen("tap0"))
    path = next(path for path in result.paths if path.direction is Direction.IN)
    assert [cell.time for cell in cells(path)][-1] == "+222.9 us ±14.0 us"


def test_sabotage_says_that_red_is_right() -> None:
    result = sample.result().model_copy(update={"sabotage": "vhost-off"})
    assert "sabotage 'vhost-off' was asked for" in shown(result)


@pytest.mark.parametrize(
    ("nanoseconds", "text"), [(0, "0.0 us"), (999_949, "999.9 us"), (1_234_567, "1.23 ms")]
)
def test_duration(nanoseconds: int, text: str) -> None:
    assert duration(nanoseconds) == text


def test_document_has_the_fixed_fields() -> None:
    document = json.loads(sample.result().document())
    fixed = {"schema", "topology", "outcome", "place", "accelerator", "versions", "checks"}
    assert fixed | {"paths", "costs", "commands", "artifacts", "timings"} <= document.keys()
    assert document["schema"] == 1
    assert document["outcome"] == "pass"
    assert "error" not in document
    assert set(document["checks"][0]) == {"name", "outcome", "expected", "observed", "evidence"}
    assert {"hop", "device", "seen", "time_ns"} <= document["paths"][0]["hops"][0].keys()
    assert Result.model_validate(document) == sample.result()


def test_document_of_an_error_says_why() -> None:
    error = StartError("it died", hint="look", argv=["qemu", "-x"], returncode=1, output="bang")
    document = json.loads(failed_result("vhost", Place.LABHOST, error).document())
    assert document["outcome"] == "error"
    assert document["error"] == {
        "kind": "StartError",
        "message": "it died",
        "hint": "look",
        "status": 4,
        "mistakes": [],
        "argv": ["qemu", "-x"],
        "returncode": 1,
        "output": "bang",
    }


def screen() -> tuple[Screen, io.StringIO]:
    text = io.StringIO()
    return Screen(Console(file=text, width=80)), text


def test_stages_are_plain_lines_without_a_terminal() -> None:
    shows, text = screen()
    with shows:
        shows.event(Stage(name="images"))
        shows.stage("download packages")
        for done in range(0, 101, 10):
            shows.bytes(done * 1_000_000, 100_000_000)
        shows.event(Stage(name="images", seconds=12.34))
        shows.event(Note(text="careful", warning=True))
    assert text.getvalue().splitlines() == [
        "    download packages",
        "    download packages: 30.0 MB of 100.0 MB",
        "    download packages: 50.0 MB of 100.0 MB",
        "    download packages: 80.0 MB of 100.0 MB",
        "    download packages: 100.0 MB of 100.0 MB",
        "  ✓ images          12.3 s",
        "  ! careful",
    ]


def test_the_stage_that_failed_is_named() -> None:
    shows, text = screen()
    shows.event(Stage(name="guest"))
    with pytest.raises(CannotError), shows:
        raise CannotError("no")
    assert text.getvalue().startswith("  ✗ guest ")


def test_a_terminal_gets_a_live_line() -> None:
    text = io.StringIO()
    shows = Screen(Console(file=text, width=80, force_terminal=True, color_system=None))
    with shows:
        shows.event(Stage(name="images"))
        shows.stage("download packages")
        shows.bytes(30, 100)
        shows.rest()
    assert "download packages" in text.getvalue()
    assert "30 bytes/100 bytes" in text.getvalue()

"""Which accelerator is used: only what booted counts, and the reason is told."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

import pytest

from lab.errors import CannotError
from lab.labhost import accelerator
from lab.labhost.accelerator import (
    Choice,
    Finding,
    ProbeSpec,
    _read_console,
    choose,
    decide,
    judge,
    known,
    probe,
    remembered,
)
from lab.labhost.machine import Accelerator

GOOD = Finding(True, "")
BAD = Finding(False, "no kernel booted")
NOT_NESTED = Finding(False, "KVM works but offers no nested virtualisation (svm or vmx)")


@pytest.mark.parametrize(
    ("console", "finding"),
    [
        ("[0.1] x\nhoplab-probe: ok svm\n", GOOD),
        ("hoplab-probe: ok vmx\r\n", GOOD),
        (
            "hoplab-probe: ok \n",
            NOT_NESTED,
        ),
        ("Linux version 6.12\n", BAD),
        ("", BAD),
    ],
    ids=["svm", "vmx", "not nested", "no report", "silent"],
)
def test_console_is_judged(console: str, finding: Finding) -> None:
    assert judge(console, BAD.reason) == finding


@pytest.mark.parametrize(
    ("finding", "accelerator"), [(GOOD, Accelerator.KVM), (BAD, Accelerator.TCG)]
)
def test_auto_follows_the_finding(finding: Finding, accelerator: Accelerator) -> None:
    decision = decide(Choice.AUTO, finding)
    assert decision.accelerator is accelerator
    assert decision.reason


def test_kvm_that_does_not_work_is_refused_with_the_reason() -> None:
    with pytest.raises(CannotError, match="no kernel booted"):
        decide(Choice.KVM, BAD)


def spec(*qemu: str) -> ProbeSpec:
    return ProbeSpec(qemu, {"PATH": "/usr/bin:/bin"}, Path("kernel"), Path("initrd"), "10.0 abc")


def test_tcg_asked_for_boots_nothing(tmp_path: Path) -> None:
    decision = choose(Choice.TCG, spec("/nonexistent"), tmp_path, tmp_path)
    assert decision.accelerator is Accelerator.TCG


def test_program_that_ends_is_told_with_its_last_words(tmp_path: Path) -> None:
    finding = probe(
        spec("sh", "-c", "echo qemu-system-x86_64: error: no such MSR >&2; echo more >&2; exit 3"),
        tmp_path,
    )
    assert finding == Finding(False, "no kernel boots under KVM here (QEMU: no such MSR)")


def test_program_that_ends_without_a_word_is_told_with_its_status(tmp_path: Path) -> None:
    finding = probe(spec("sh", "-c", "exit 3"), tmp_path)
    words = "no kernel boots under KVM here (QEMU ended with exit status 3)"
    assert finding == Finding(False, words)


def test_program_that_hangs_is_killed_at_the_deadline(tmp_path: Path) -> None:
    finding = probe(spec("sh", "-c", "exec sleep 1000"), tmp_path, seconds=0.2)
    assert finding == Finding(False, "no kernel boots under KVM here (none did within 0 s)")


def test_console_is_read_until_the_whole_report() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        for part in (b"boot\nhoplab-pro", b"be: ok s", b"vm\n"):
            theirs.sendall(part)
        text = _read_console(ours, time.monotonic() + 5)
    assert judge(text, "") == GOOD


def test_finding_is_kept_for_its_key_alone(tmp_path: Path) -> None:
    file = tmp_path / "cache" / "accelerator.json"
    assert remembered(file, "boot 1", lambda: GOOD) == GOOD
    assert remembered(file, "boot 1", lambda: BAD) == GOOD
    assert remembered(file, "boot 2", lambda: BAD) == BAD


@pytest.mark.parametrize(("finding", "now"), [(GOOD, GOOD), (NOT_NESTED, NOT_NESTED), (BAD, GOOD)])
def test_that_nothing_booted_is_believed_for_an_hour(
    finding: Finding, now: Finding, tmp_path: Path
) -> None:
    file = tmp_path / "accelerator.json"
    assert remembered(file, "k", lambda: finding) == finding
    assert remembered(file, "k", lambda: GOOD) == finding
    before = time.time() - 3601
    os.utime(file, (before, before))
    assert remembered(file, "k", lambda: GOOD) == now


def test_a_probe_that_is_asked_for_is_made_and_counts(tmp_path: Path) -> None:
    file = tmp_path / "accelerator.json"
    assert remembered(file, "k", lambda: BAD) == BAD
    assert remembered(file, "k", lambda: GOOD, anew=True) == GOOD
    assert remembered(file, "k", lambda: BAD) == GOOD


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"key": "k", "finding": {"x": 1}}'])
def test_damaged_finding_is_found_out_again(tmp_path: Path, content: str) -> None:
    file = tmp_path / "accelerator.json"
    file.write_text(content)
    assert remembered(file, "k", lambda: BAD) == BAD


@pytest.mark.parametrize(
    ("console", "usable", "boots"),
    [
        ("hoplab-probe: ok svm\n", True, True),
        ("hoplab-probe: ok\n", False, True),
        ("Kernel panic\n", False, False),
    ],
    ids=["nests", "does not nest", "does not boot"],
)
def test_guests_need_no_nested_virtualisation(console: str, usable: bool, boots: bool) -> None:
    finding = judge(console, "it did not boot")
    assert (finding.usable, finding.boots) == (usable, boots)


def test_what_may_not_be_opened_needs_no_probe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accelerator, "_KVM", tmp_path)  # open(2): EISDIR
    assert known(spec("qemu"), tmp_path) == Finding(
        False, f"{tmp_path} cannot be opened: Is a directory"
    )
    monkeypatch.setattr(accelerator, "_KVM", tmp_path / "kvm")
    (tmp_path / "kvm").touch()
    assert known(spec("qemu"), tmp_path) is None

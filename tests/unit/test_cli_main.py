"""The command line's frame, in processes of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab.cli import main as cli
from lab.cli.options import settings
from lab.errors import CannotError, InterruptedRunError, StartError, UsageError

HEAVY = {"jinja2", "pydantic", "pygal", "pyroute2", "qemu", "ruamel", "scapy"}


def lab(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lab", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "COLUMNS": "80"},
    )


def test_help_loads_no_heavy_library() -> None:
    code = (
        "import sys, lab.cli.main as m\n"
        "m.status(['--help'])\n"
        "print(*{name.split('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Usage: lab" in done.stdout
    assert not HEAVY & set(done.stderr.split())


def test_help_is_fast() -> None:
    def seconds() -> float:
        before = os.times()
        assert lab("--help").returncode == 0
        after = os.times()
        return sum(after[2:4]) - sum(before[2:4])

    # CPU time, and the best of several: the program is measured, not the machine's other work.
    assert min(seconds() for _ in range(5)) < 0.3


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["bogus"], 'Unknown command "bogus"', "see `lab --help`"),
        (["run"], "TOPOLOGY requires an argument", "see `lab run --help`"),
        (["run", "vhost", "--accel", "quick"], 'Choose from: "auto"', "see `lab run --help`"),
        (["run", "vhost", "--rounds", "3"], "--rounds plugs NICs", "add --attach hotplug"),
        (["run", "vhosst"], "there is no topology 'vhosst'", "did you mean vhost?"),
        (["run", "vhost", "--set", "queues"], "--set takes NAME=VALUE, not 'queues'", ""),
        (["run", "vhost", "--sabotage", "fire"], "no sabotage 'fire'", "vhost-off"),
        (
            ["run", "vhost", "--out", "/etc/passwd/x"],
            "/etc/passwd is no folder",
            "--out",
        ),
        (["trace", "vhost", "--size", "9"], "60 to 1514 bytes, not 9", ""),
        (["trace", "vhost", "--nic", "me"], "vhost has no NIC 'me'", "guest.nic0"),
        (["trace", "failover", "--attach", "hotplug"], "failover migrates its guest", "leave out"),
        (["run", "vhost", "--set", "queues=2", "--set", "queues=4"], "queues twice: 2 and 4", ""),
        (["all", "vhost", "vhosst"], "there is no topology 'vhosst'", "did you mean vhost?"),
        (["ladder", "vhost", "./x.yaml"], "No such file", ""),
        (["cmdline", "vhost", "--guest", "me"], "vhost has no guest 'me'", "it has guest"),
        (["shell"], "a shell needs a terminal", "lab run"),
    ],
)
def test_usage_errors_are_one_line_and_a_hint(
    arguments: list[str], message: str, hint: str, tmp_path: Path
) -> None:
    done = lab(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    first, *rest = done.stderr.splitlines()
    assert first.startswith("lab: ")
    assert message in first
    assert hint in " ".join(rest)
    assert len(rest) <= 1
    assert not list(tmp_path.iterdir())


def test_here_is_refused_with_the_reason() -> None:
    """On every machine: none gives its own PCI devices away."""
    done = lab("run", "passthrough", "--on", "here", "--json")
    document = json.loads(done.stdout)
    assert done.returncode == document["status"] == 3
    assert document["outcome"] == "error"
    assert document["error"]["kind"] == "CannotError"
    assert document["place"] == "here"


def test_every_mistake_of_a_file_is_told_with_its_place(tmp_path: Path) -> None:
    good = (Path(__file__).parents[2] / "topologies/vhost.yaml").read_text()
    bad = good.replace("memory: 192", "memory: 1").replace("driver:", "drivr:")
    bad = bad.replace("- bridge: br0", "- bridge: br9")
    (tmp_path / "bad.yaml").write_text(bad)
    done = lab("run", "./bad.yaml", "--json", cwd=tmp_path)
    told = [line for line in done.stderr.splitlines() if "bad.yaml:" in line]
    assert done.returncode == 2
    assert len(told) == 3
    assert json.loads(done.stdout)["error"]["mistakes"] == [
        line.removeprefix("lab: ") for line in told
    ]


def test_cmdline_prints_a_script_with_the_qemu_line() -> None:
    script, command = lab("cmdline", "vhost"), lab("cmdline", "vhost", "--guest", "guest")
    assert script.stdout.startswith("#!/bin/bash\n")
    assert command.stdout.startswith("qemu-system-x86_64 ")
    assert "vhost=on" in command.stdout
    assert command.stdout.rstrip() in script.stdout
    check = subprocess.run(["bash", "-n"], input=script.stdout, text=True, check=False)
    assert check.returncode == 0


@pytest.mark.parametrize("command", [["trace", "vhost", "--perfetto"], ["ladder", "--html"]])
def test_a_file_that_cannot_be_written_is_told_before_the_run(
    command: list[str], tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    done = lab(*command, str(tmp_path / "file/x.json"), cwd=tmp_path)
    assert done.returncode == 3
    assert "x.json cannot be written" in done.stderr


def test_cmdline_knows_where_a_guest_migrates_to() -> None:
    done = lab("cmdline", "failover", "--guest", "guest-target")
    assert done.returncode == 0
    assert "-incoming" in done.stdout


def test_cmdline_prints_what_qmp_is_told_later() -> None:
    out = lab("cmdline", "vhost", "--attach", "hotplug", "--guest", "guest").stdout
    line, *commands = out.replace("\\\n", "").splitlines()
    assert "virtio-net-pci" not in line
    told = [json.loads(command) for command in commands]
    assert [each["execute"] for each in told] == ["netdev_add", "device_add"]
    assert told[0]["arguments"]["vhost"] is True


def test_topologies_are_listed() -> None:
    rows = json.loads(lab("topologies", "--json").stdout)
    vhost = next(row for row in rows if row["name"] == "vhost")
    assert vhost["parameters"]["vhost"] == "on"
    assert "vhost-net" in vhost["title"]
    table = lab("topologies").stdout
    assert "vlan" in table
    assert "None" not in table


def test_nothing_is_kept_without_a_terminal() -> None:
    done = lab("run", "vhost", "--keep")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--keep needs a terminal" in done.stderr


@pytest.mark.parametrize("kind", ["topology", "result"])
def test_schema_is_printed(kind: str) -> None:
    assert "properties" in json.loads(lab("schema", kind).stdout)


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    command = f"{sys.executable} -m lab schema | true"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, check=False, cwd=Path.cwd()
    )
    assert done.stderr == ""


@pytest.mark.parametrize(
    "error",
    [
        UsageError("no", hint="so"),
        CannotError("no", hint="so"),
        StartError("no", hint="so"),
        InterruptedRunError("no", hint="so"),
        KeyboardInterrupt(),
        ZeroDivisionError("no"),
    ],
)
def test_errors_have_their_status(
    error: BaseException,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    def broken(*_: object, **__: object) -> int:
        raise error

    monkeypatch.setattr(cli, "app", broken)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    expected = {KeyboardInterrupt: 130, ZeroDivisionError: cli.CRASHED}.get(type(error))
    assert cli.status([]) == (expected or getattr(error, "status", None))
    text = capsys.readouterr().err
    assert text.startswith("lab: ")
    assert "Traceback" not in text


def test_a_command_that_is_interrupted_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lab.cli.images.ensure", interrupted)
    assert cli.status(["images", "build"]) == 130
    assert capsys.readouterr().err == "lab: interrupted; nothing was left behind\n"


def test_a_fault_of_our_own_is_kept_in_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def broken(*_: object, **__: object) -> int:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(cli, "app", broken)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    cli.status([])
    (file,) = tmp_path.iterdir()
    assert "Traceback" in file.read_text()
    assert str(file) in capsys.readouterr().err


def test_a_fault_of_our_own_is_told_where_no_file_can_be_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def broken(*_: object, **__: object) -> int:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(cli, "app", broken)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    assert cli.status([]) == cli.CRASHED
    first, *rest = capsys.readouterr().err.splitlines()
    assert first == "lab: a fault of the lab itself: ZeroDivisionError: by zero"
    assert "Traceback" in "\n".join(rest)


def test_settings_may_hold_equals_signs() -> None:
    assert settings(("a=1", "b=c=d", "e=")) == {"a": "1", "b": "c=d", "e": ""}


def test_a_parameter_is_set_once() -> None:
    with pytest.raises(UsageError, match="--set gives queues twice: 2 and 4"):
        settings(("queues=2", "queues=4"))

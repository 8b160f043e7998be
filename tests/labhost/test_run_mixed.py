"""Topologies that mix what ours keep apart, and the ways to look at a run while it stands."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.images import cache
from lab.images.build import ensure
from lab.images.progress import Silent
from lab.labhost.accelerator import Choice
from lab.labhost.labhost import open_labhost
from lab.labhost.setup import Images
from tests.labhost.runs import ROOT, SECONDS, Outcome

pytestmark = pytest.mark.labhost

FOLDER = Path(__file__).parent / "topologies"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize(
    ("words", "red"),
    [
        (f"{FOLDER}/three-kinds.yaml", set()),
        (f"{FOLDER}/loaded-anew.yaml", set()),
        (f"{FOLDER}/same-cable.yaml", {"guest.slow/hops.in", "guest.slow/hops.out"}),
    ],
    ids=["three-kinds", "loaded-anew", "same-cable"],
)
def test_only_what_is_wrong_is_red(words: str, red: set[str], outcome: Outcome) -> None:
    assert outcome.red == red, outcome.document
    assert outcome.status == bool(red)


def test_a_kept_run_can_be_looked_at_before_it_is_undone(tmp_path: Path) -> None:
    """On a terminal: the guest answers the tester, and only after Ctrl-] comes the undo."""
    terminal, theirs = pty.openpty()
    argv = [sys.executable, "-m", "lab", "run", "vhost", "--keep"]
    with subprocess.Popen(
        argv,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=tmp_path,
        env=ENVIRONMENT,
        start_new_session=True,
    ) as process:
        os.close(theirs)

        def read() -> bytes:
            return os.read(terminal, 4096)

        wait_for(rb"then all is undone(.|\n)*# ", read, terminal)
        os.write(terminal, b"ip netns exec wire ping -c 1 10.77.0.11\n")
        wait_for(rb"1 (packets )?received", read, terminal)
        os.write(terminal, b"\x1d")
        wait_for(rb"undo(.|\n)*PASS(.|\n)*result.json", read, terminal)
        os.close(terminal)
    assert process.returncode == 0


def test_the_printed_script_plugs_a_nic_in_and_puts_all_back(tmp_path: Path) -> None:
    """Pasted into a root shell: the files of a macvtap and of vhost go over QMP."""
    words = ["cmdline", "macvtap", "--set", "guests=1", "--attach", "hotplug"]
    script = subprocess.run(
        [sys.executable, "-m", "lab", *words], capture_output=True, env=ENVIRONMENT, check=True
    ).stdout
    images = Images(ensure("labhost", Silent()), ensure("guest", Silent()), cache.default().top)
    with open_labhost(images, Choice.AUTO, tmp_path, lambda _event, _data: None) as host:
        shell = host.machine.shell

        def read() -> bytes:
            return shell.recv(4096)

        # Its last line waits for QEMU, which would be for Ctrl-C to end. With the shell all is put
        # back, and another shell greets; what is typed before that is lost.
        shell.sendall(b"cd /run\n" + script.removesuffix(b"wait\n") + b"exit\n")
        wait_for(rb"(\{'return': \{\}\}\s+){5}", read, shell.fileno())
        wait_for(rb"terminating on signal(.|\n)*# ", read, shell.fileno())
        shell.sendall(b"ip -json link show | tr -d '\\n'; echo end-$((6 * 7))\n")
        seen = wait_for(rb"end-42", read, shell.fileno())
    (listed,) = re.findall(rb"(\[\{.*\}\])", seen)
    assert "macvtap0" not in {link["ifname"] for link in json.loads(listed)}


def wait_for(pattern: bytes, read: Callable[[], bytes], descriptor: int) -> bytes:
    """Read until the pattern is there; all that was read."""
    deadline = time.monotonic() + SECONDS
    seen = b""
    while not re.search(pattern, seen):
        ready, _, _ = select.select([descriptor], [], [], max(deadline - time.monotonic(), 0))
        assert ready, seen.decode(errors="replace")
        part = read()
        assert part, seen.decode(errors="replace")
        seen += part
    return seen

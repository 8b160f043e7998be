"""The agent's client against a small agent at the other end of a real socketpair."""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.errors import StartError
from lab.guest.agent import Agent, AgentError, Result
from lab.guest.process import Process, Words, start_process

Answer = Callable[[dict[str, Any]], dict[str, Any] | None]


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    words = Words(tmp_path / "console", tmp_path / "output")
    with start_process("g1", ["sleep", "60"], {}, [], words) as process:
        yield process


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def serve(sock: socket.socket, answer: Answer) -> None:
    """Answer each request by ``answer``; None is silence."""

    def loop() -> None:
        with sock.makefile("rb") as lines:
            for line in lines:
                request = json.loads(line)
                reply = answer(request)
                if reply is not None:
                    sock.sendall(json.dumps({"id": request["id"], **reply}).encode() + b"\n")

    threading.Thread(target=loop, daemon=True).start()


def local(request: dict[str, Any]) -> dict[str, Any]:
    """An agent that runs the program at once, and tells so at the second question only."""
    arguments = request["arguments"]
    if request["execute"] == "guest-exec":
        done = subprocess.run(
            [arguments["path"], *arguments["arg"]],
            input=base64.b64decode(arguments.get("input-data", "")),
            capture_output=True,
            check=False,
        )
        local.done = done  # type: ignore[attr-defined]
        return {"return": {"pid": 7}}
    done = local.done  # type: ignore[attr-defined]
    return {
        "return": {
            "exited": True,
            "exitcode": done.returncode,
            "out-data": base64.b64encode(done.stdout).decode(),
            "err-data": base64.b64encode(done.stderr).decode(),
        }
    }


@pytest.fixture
def agent(process: Process, ends: tuple[socket.socket, socket.socket]) -> Agent:
    serve(ends[1], local)
    return Agent(ends[0], process, str)


def test_a_text_is_a_shell_script(agent: Agent) -> None:
    assert agent.run("echo out; echo err >&2; exit 3") == Result(3, b"out\n", "err\n")


def test_a_list_is_a_program(agent: Agent) -> None:
    assert agent.run(["echo", "a b", "$HOME"]).out == "a b $HOME\n"


def test_input_and_output_are_the_same_byte_by_byte(agent: Agent) -> None:
    assert agent.run(["cat"], data=bytes(range(256))).raw == bytes(range(256))


def test_a_refusal_is_told(process: Process, ends: tuple[socket.socket, socket.socket]) -> None:
    serve(ends[1], lambda _: {"error": {"class": "GenericError", "desc": "no such command"}})
    with pytest.raises(AgentError, match="agent refused guest-dance: no such command"):
        Agent(ends[0], process, str).call("guest-dance", {})


def test_the_first_answer_is_waited_for(
    process: Process, ends: tuple[socket.socket, socket.socket]
) -> None:
    agent = Agent(ends[0], process, str)
    late = threading.Timer(0.1, serve, (ends[1], lambda request: {"return": request["arguments"]}))
    late.start()
    agent.sync(seconds=10)
    late.join()


def test_silence_ends_at_the_deadline(
    process: Process, ends: tuple[socket.socket, socket.socket]
) -> None:
    with pytest.raises(StartError, match=r"guest g1 runs, but .* guest-sync did not come within 0"):
        Agent(ends[0], process, str).sync(seconds=0.05)


def test_of_a_silent_guest_it_is_told_where_it_stands(
    process: Process, ends: tuple[socket.socket, socket.socket]
) -> None:
    with pytest.raises(StartError) as caught:
        Agent(ends[0], process, lambda: "CPU 0: RIP=fff0").sync(seconds=0.05)
    assert caught.value.output.endswith("CPU 0: RIP=fff0")


def test_a_late_answer_is_not_taken_for_the_next(
    process: Process, ends: tuple[socket.socket, socket.socket]
) -> None:
    agent = Agent(ends[0], process, str)
    with pytest.raises(StartError):
        agent.call("slow", {}, seconds=0.05)
    serve(ends[1], lambda request: {"return": request["execute"]})
    assert agent.call("quick", {}) == "quick"


def test_a_program_that_never_ends_is_named(
    process: Process, ends: tuple[socket.socket, socket.socket]
) -> None:
    serve(ends[1], lambda _: {"return": {"pid": 1, "exited": False}})
    with pytest.raises(StartError, match="a program ran for 0 s") as caught:
        Agent(ends[0], process, str).run(["sleep", "9"], deadline=0.05)
    assert caught.value.argv == ("sleep", "9")


def test_a_guest_that_ends_is_told_at_once(tmp_path: Path) -> None:
    words = Words(tmp_path / "console", tmp_path / "output")
    words.console.write_text("Kernel panic - not syncing\n")
    ours, theirs = socket.socketpair()
    script = ["sh", "-c", "sleep 0.1; echo out of luck >&2; exit 5"]
    began = time.monotonic()
    with (
        ours,
        theirs,
        start_process("g1", script, {}, [], words) as process,
        pytest.raises(StartError, match="guest g1 ended early: exit status 5") as caught,
    ):
        Agent(ours, process, str).sync(seconds=30)
    assert time.monotonic() - began < 5
    assert caught.value.returncode == 5
    assert caught.value.argv == tuple(script)
    assert caught.value.output == "Kernel panic - not syncing\nout of luck"

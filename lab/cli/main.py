"""The command line's frame: verbs, signals, and what becomes of errors.

Verbs are named by their import path and loaded when they are called, so that ``lab --help`` loads
none of the libraries that only they need.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import traceback
from types import FrameType
from typing import NoReturn

from cyclopts import App, CycloptsError, Parameter

from lab import __version__
from lab.errors import InterruptedRunError, LabError, UsageError

CRASHED = 70
"""Exit status for a fault of the lab itself (EX_SOFTWARE in sysexits.h)."""

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

app = App(
    name="lab",
    help="Shows and proves which path a virtual machine's packets take, and what it costs.",
    help_epilogue=(
        "Exit status: 0 all passed, 1 an expectation failed, 2 the topology or the command line is "
        "wrong, 3 this machine cannot do it, 4 a guest or helper failed to start, 5 something was "
        "left behind, 130 interrupted."
    ),
    version=__version__,
    help_format="plaintext",
    default_parameter=Parameter(negative=()),
    result_action="return_value",
    suppress_keyboard_interrupt=False,  # we tell of it, see `status`
)
app.command("lab.cli.run:run", name="run", help="Run a topology with all its proofs.")
app.command("lab.cli.trace:trace", name="trace", help="Follow one packet, step by step.")
app.command("lab.cli.all:all_", name="all", help="Run all topologies; one table at the end.")
app.command("lab.cli.ladder:ladder", name="ladder", help="What each layer costs, side by side.")
app.command("lab.cli.report:report", name="report", help="Show a run again, or as a page.")
app.command("lab.cli.look:topologies", name="topologies", help="List the topologies.")
app.command("lab.cli.look:cmdline", name="cmdline", help="Print a topology as a shell script.")
app.command("lab.cli.look:sabotages", name="sabotages", help="List the faults to build in.")
app.command("lab.cli.look:schema", name="schema", help="Print a file format's JSON schema.")
app.command("lab.cli.pci:pci", name="pci", help="PCI tree: IOMMU groups, drivers, VFs.")
app.command("lab.cli.shell:shell", name="shell", help="A root shell in a fresh lab host.")
app.command("lab.cli.down:down", name="down", help="Put back what killed runs left.")
app.command("lab.cli.doctor:doctor", name="doctor", help="Say what this machine can do.")
app.command("lab.cli.images:app", name="images", help="Build, list, verify or prune images.")


def main() -> NoReturn:
    """Run the command line and exit with its status."""
    for number in _ENDING:
        signal.signal(number, _interrupt)
    # A terminal without the arrows gets question marks rather than an error.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    sys.exit(status(sys.argv[1:]))


def status(tokens: list[str]) -> int:
    """Carry out one command line; errors are told on standard error."""
    try:
        code = app(tokens, exit_on_error=False, print_error=False) or 0
        sys.stdout.flush()
    except CycloptsError as error:
        return _told(_usage(error))
    except LabError as error:
        return _told(error)
    except KeyboardInterrupt:
        return _told(InterruptedRunError("interrupted; nothing was left behind"))
    except BrokenPipeError:
        # Whoever read us has gone; the interpreter must not try to flush at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # noqa: BLE001  the last resort: a fault of ours, told in one line
        return _crashed(error)
    return int(code)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """Ctrl-C once; impatient further ones would only cut the clean-up short."""
    for number in _ENDING:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _usage(error: CycloptsError) -> UsageError:
    text = " ".join(str(error).split())
    chain = " ".join(("lab", *(error.command_chain or ())))
    return UsageError(text, hint=f"see `{chain} --help`")


def _told(error: LabError) -> int:
    first, *rest = error.lines()
    print("\n".join([f"lab: {first}", *rest]), file=sys.stderr, flush=True)
    return error.status


def _crashed(error: Exception) -> int:
    """The traceback goes to a file: it is for us, the line is for the user."""
    told = "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="hoplab-crash-", suffix=".txt", delete=False
        ) as file:
            file.write(told)
        hint = f"please report it with the file {file.name}"
    except OSError:  # a full disk, for one
        hint = f"please report it with this:\n{told}"
    print(f"lab: a fault of the lab itself: {type(error).__name__}: {error}", file=sys.stderr)
    print(f"hint: {hint}", file=sys.stderr)
    return CRASHED

"""How an error of the run gets out of the place where it happened."""

from __future__ import annotations

import pytest

from lab.errors import (
    CannotError,
    InterruptedRunError,
    LabError,
    LeftBehindError,
    StartError,
    TopologyError,
    UsageError,
)
from lab.execute import _failed
from lab.guest.agent import AgentError
from lab.here.features import MissingFeatureError
from lab.qmp import RefusedError
from lab.record import error_of


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (UsageError("no"), UsageError),
        (TopologyError(()), UsageError),
        (CannotError("no"), CannotError),
        (MissingFeatureError("no"), CannotError),
        (StartError("no"), StartError),
        (RefusedError("no", "GenericError"), StartError),
        (AgentError("no"), StartError),
        (LeftBehindError("no"), LeftBehindError),
        (InterruptedRunError("no"), InterruptedRunError),
        (LabError("no"), LabError),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, LabError) else "",
)
def test_an_error_keeps_its_status(error: LabError, kind: type[LabError]) -> None:
    told = error_of(_failed(error), ())
    assert type(told) is kind
    assert told.status == error.status


@pytest.mark.parametrize("left", [(), ("tap0",)], ids=["all put back", "left behind"])
def test_all_that_is_known_of_an_error_gets_out(left: tuple[str, ...]) -> None:
    error = StartError("no", hint="so", argv=("qemu", "-S"), returncode=1, output="its last words")
    told = error_of(_failed(error), left)
    assert (told.hint, told.argv, told.returncode, told.output) == (
        *("so", ("qemu", "-S"), 1, "its last words"),
    )
    assert told.status == (LeftBehindError.status if left else StartError.status)
    assert told.message == ("no; left behind: tap0" if left else "no")
    assert "  | its last words" in told.lines()

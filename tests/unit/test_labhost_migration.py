"""A lab host goes on after it was saved, however long QEMU takes to let it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from lab.errors import StartError
from lab.labhost.migration import save
from lab.qmp import Qmp


class Saving:
    """What QEMU tells while it saves: ``states`` are its answers to query-status, the last for
    ever."""

    def __init__(self, states: list[str]) -> None:
        self.states = states
        self.said: list[str] = []

    def execute(
        self, command: str, _arguments: Mapping[str, object] | None = None, timeout: float = 0.0
    ) -> Any:
        self.said.append(command)
        if command != "query-status":
            return {}
        return {"status": self.states.pop(0) if self.states[1:] else self.states[0]}

    def wait_event(self, _name: str, _seconds: float, _match: object) -> Mapping[str, str]:
        return {"status": "completed"}


def test_it_goes_on_once_the_migration_is_finalized() -> None:
    saving = Saving(["finish-migrate", "finish-migrate", "postmigrate"])
    save(cast("Qmp", saving), Path("state"), 5.0)
    assert saving.said[-4:] == [*["query-status"] * 3, "cont"]


def test_a_migration_that_is_never_finalized_is_told() -> None:
    saving = Saving(["finish-migrate"])
    with pytest.raises(StartError, match="not finalized within"):
        save(cast("Qmp", saving), Path("state"), 0.0)
    assert "cont" not in saving.said

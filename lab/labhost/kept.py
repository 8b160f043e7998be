"""Lab hosts that are kept with their guests up.

A call that rests (`lab.inside`) when network and guests are up is a place to begin the next one
with the same beginning: its lab host is saved while it rests and goes on there when it is restored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from lab.labhost.snapshot import Store

_SAID = "said.json"


class Said(BaseModel):
    """What a lab host had said when it was kept: its hello, and what is still true of its call.

    ``events`` are those of the call, without stages. ``call`` is the number of the call that rests,
    ``date`` when that was (ISO 8601, local time).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    call: int
    hello: dict[str, Any]
    events: tuple[dict[str, Any], ...]
    date: str


def now() -> str:
    """A date for `Said`."""
    return datetime.now().astimezone().isoformat(sep=" ", timespec="minutes")


@dataclass(frozen=True)
class Keeper:
    """Where the lab host of one beginning is kept."""

    store: Store
    key: str

    def find(self, note: Callable[[str], None]) -> tuple[Path, Said] | None:
        """The state file and what was said before, where there are both; see `Store.find`."""
        state = self.store.find(self.key, note)
        if state is None:
            return None
        try:
            return state, Said.model_validate_json(state.with_name(_SAID).read_bytes())
        except (OSError, ValidationError) as error:
            note(f"a kept lab host is dropped: {error}")
            self.drop()
            return None

    def keep(self, said: Said, write: Callable[[Path], None]) -> None:
        """Have ``write`` write the state file, unless another lab has; OSError may come out."""
        with self.store.making() as problem:
            if problem:
                raise OSError(problem)
            if self.store.find(self.key, lambda _: None) is None:
                self.store.add(self.key, lambda file: _write(file, said, write))

    def drop(self) -> None:
        """Remove it: it did not work."""
        self.store.drop(self.key)


def keeper(store: Store, base: str, code: bytes, beginning: str) -> Keeper:
    """``base`` is the key of the lab host's own snapshot, ``code`` the zip of the lab's code,
    ``beginning`` all else that the call does until it rests."""
    parts = (base.encode(), hashlib.sha256(code).digest(), beginning.encode())
    total = hashlib.sha256(b"\0".join(hashlib.sha256(part).digest() for part in parts))
    return Keeper(store, total.hexdigest()[:32])


def _write(file: Path, said: Said, write: Callable[[Path], None]) -> None:
    write(file)
    file.with_name(_SAID).write_text(said.model_dump_json())

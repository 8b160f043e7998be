"""This machine as a place: what its worker is given."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from lab.guest.qemu import STOP_SECONDS
from lab.here.place import Here, first_facts
from lab.here.ports import Ports
from lab.labhost.channel import Channel
from lab.model.load import load_topology
from lab.plan.build import build


class Unheard:
    """A channel whose other end says nothing."""

    def call(self, *_words: object) -> Iterator[tuple[dict[str, Any], bytes]]:
        return iter(())


@pytest.mark.parametrize("guests", [1, 2, 5])
def test_the_worker_has_time_to_end_each_guest(guests: int) -> None:
    facts = first_facts(Ports())
    plan = build(load_topology("virtio", {}), facts)
    here = Here(facts, cast("Channel", Unheard()), Path("/nowhere"), {})
    idle = here.stop_seconds
    here.call(plan.model_copy(update={"guests": plan.guests * guests}))
    assert here.stop_seconds - idle == guests * STOP_SECONDS

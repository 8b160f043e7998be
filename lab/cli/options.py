"""Options that several verbs share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from cyclopts import Parameter

from lab.errors import UsageError
from lab.plan.data import Attach

_SET = "NAME=VALUE for a parameter of the topology; repeatable."


def flag(text: str) -> Parameter:
    """An option that is off unless it is given."""
    return Parameter(help=text, show_default=False)


Set = Annotated[tuple[str, ...], Parameter(name="--set", help=_SET, show_default=False)]
Fresh = Annotated[
    bool, flag("Boot the guests instead of going on from where the last run kept them.")
]
Json = Annotated[bool, flag("Print one JSON document and nothing else.")]
AttachOption = Annotated[
    Attach, Parameter(name="--attach", help="NICs from the start, or plugged in while guests run.")
]
Uplink = Annotated[
    str, Parameter(help="With --on here: a port of this machine as the port under test.")
]
Tester = Annotated[str, Parameter(help="With --on here: the port at the other end of its cable.")]
Topology = Annotated[str, Parameter(help="Name of a topology, or path of a topology file.")]


def settings(words: Sequence[str]) -> dict[str, str]:
    """``NAME=VALUE`` words as a mapping. Raises UsageError for any other, or the same again."""
    found: dict[str, str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name and equals):
            raise UsageError(f"--set takes NAME=VALUE, not {name!r}")
        if name in found:
            raise UsageError(
                f"--set gives {name} twice: {found[name]} and {value}", hint="leave one of them out"
            )
        found[name] = value
    return found

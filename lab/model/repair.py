"""The rules applied to what is left of a file once its mistaken parts are taken out.

Without this a wrong number would hide two equal MAC addresses until the next attempt.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from lab.model import rules
from lab.model.places import Finding, Path
from lab.model.topology import Topology
from lab.model.wording import details, finding

_GAP = object()
"""Stands where a list item was, so that the paths of the items after it stay right."""

_HEAD = {"topology": "any", "title": "any"}
"""What a file needs but no rule looks at."""


def rules_of_the_rest(value: object, mistaken: Iterable[Path]) -> list[Finding]:
    """What the rules find apart from the mistaken paths; nothing where too little is left."""
    rest: Any = copy.deepcopy(value)
    removed: list[Path] = []
    long: list[Finding] = []
    pending = list(mistaken)
    while isinstance(rest, dict) and () not in pending:
        for path in pending:
            _remove(rest, path)
        removed += pending
        try:
            topology = Topology.model_validate(_HEAD | _closed(rest))
        except ValidationError as error:
            wrong = details(error)
            long += [_moved(finding(each), rest) for each in wrong if each["type"] == "too_long"]
            pending = _give_up(rest, wrong)
            continue
        found = [_moved(each, rest) for each in rules.check(topology)]
        return [*long, *(each for each in found if not _doubtful(each, removed))]
    return long


def _give_up(rest: Any, errors: Iterable[ErrorDetails]) -> list[Path]:
    """Give the nameless a name and cut what is too long; for all else the owner has to go too."""
    pending = []
    for error in errors:
        owner = _original(error["loc"][:-1], rest)
        if error["type"] == "too_long":
            path, most = error["loc"], error["ctx"]["max_length"]
            pending += [_original((*path, n), rest) for n in range(most, len(error["input"]))]
        elif error["loc"][-1] == "name":
            _at(rest, owner)["name"] = f"nameless-{owner[-1]}"
        else:
            pending.append(owner)
    return pending


def _at(rest: Any, path: Iterable[Any]) -> Any:
    for step in path:
        rest = rest[step]
    return rest


def _remove(rest: Any, path: tuple[Any, ...]) -> None:
    *owners, last = path
    for step in owners:
        if not isinstance(rest, dict | list) or (isinstance(rest, dict) and step not in rest):
            return  # its owner is gone already
        rest = rest[step]
    if isinstance(rest, list):
        rest[last] = _GAP
    elif isinstance(rest, dict):
        rest.pop(last, None)


def _closed(rest: Any) -> Any:
    """The values without the gaps."""
    if isinstance(rest, dict):
        return {key: _closed(value) for key, value in rest.items()}
    if isinstance(rest, list):
        return [_closed(value) for value in rest if value is not _GAP]
    return rest


def _original(path: tuple[Any, ...], rest: Any) -> Path:
    """A path into the closed values as a path into the file; its last step may lead nowhere."""
    steps: list[str | int] = []
    for step in path:
        original = _original_index(rest, step) if isinstance(rest, list) else step
        steps.append(original)
        rest = rest.get(original) if isinstance(rest, dict) else rest[original]
    return tuple(steps)


def _original_index(items: list[Any], index: Any) -> int:
    places = [place for place, item in enumerate(items) if item is not _GAP]
    place: int = places[index]
    return place


def _moved(found: Finding, rest: Any) -> Finding:
    path = _original(found.path, rest)
    return Finding(path, found.message, found.hint, looks_in=found.looks_in)


def _doubtful(found: Finding, removed: Iterable[Path]) -> bool:
    """Whether what was taken out may be the reason for a finding.

    Of the lists that others refer to only whole items and their names matter.
    """
    return any(
        path[: len(found.path)] == found.path
        or (path[:1] == (found.looks_in,) and (len(path) <= 2 or path[-1] == "name"))
        for path in removed
    )

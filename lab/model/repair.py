"""The rules applied to what is left of a file once its mistaken parts are taken out.

Without this a wrong number would hide two equal MAC addresses until the next attempt.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from lab.model import rules
from lab.model.places import Finding, Path
from lab.model.topology import Topology
from lab.model.wording import details, finding

_GAP = object()
"""Stands where a list item was, so that the paths of the items after it stay right."""

_NAMELESS = "nameless-"
"""Begins the names that stand in for mistaken ones."""

_HEAD = {"topology": "any", "title": "any"}
"""What a file needs but no rule looks at."""


def rules_of_the_rest(value: object, errors: Iterable[ErrorDetails]) -> list[Finding]:
    """What is wrong apart from these errors; less where too little is left to look at.

    Where a list is too long, pydantic may say nothing of the items in it.
    """
    rest: Any = copy.deepcopy(value)
    removed: list[Path] = []
    more: list[Finding] = []
    pending = [path for error in errors for path in _mistaken(error, rest)]
    while isinstance(rest, dict) and () not in pending:
        for path in pending:
            _remove(rest, path)
        removed += pending
        try:
            topology = Topology.model_validate(_HEAD | _closed(rest))
        except ValidationError as error:
            wrong = details(error)
            fresh = [each for each in wrong if not _follows(each, removed, rest)]
            more += [_moved(finding(each), rest) for each in fresh]
            pending = [path for each in fresh for path in _mistaken(each, rest)]
            pending += _give_up(rest, [each for each in wrong if each not in fresh])
            continue
        found = [_moved(each, rest) for each in rules.check(topology)]
        return [*more, *(each for each in found if not _doubtful(each, removed, value))]
    return more


def _mistaken(error: ErrorDetails, rest: Any) -> list[Path]:
    """What has to go: what the error is about, or the items that make a list too long."""
    if error["type"] != "too_long":
        return [_original(error["loc"], rest)]
    numbers = range(error["ctx"]["max_length"], len(error["input"]))
    return [_original((*error["loc"], number), rest) for number in numbers]


def _follows(error: ErrorDetails, removed: Iterable[Path], rest: Any) -> bool:
    """Whether something is missing only because it was taken out."""
    if error["type"] not in {"missing", "too_short"}:
        return False
    path = _original(error["loc"], rest)
    return any(_within(each, path) for each in removed)


def _give_up(rest: Any, errors: Iterable[ErrorDetails]) -> list[Path]:
    """Give the nameless a name; of all else that is missing the owner has to go too."""
    pending = []
    for error in errors:
        owner = _original(error["loc"][:-1], rest)
        if error["loc"][-1] == "name":
            _at(rest, owner)["name"] = f"{_NAMELESS}{owner[-1]}"
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
    return replace(
        found,
        path=_original(found.path, rest),
        other=_original(found.other, rest),
        rests_on=tuple(_original(path, rest) for path in found.rests_on),
        hint="" if _NAMELESS in found.hint else found.hint,
    )


def _doubtful(found: Finding, removed: Iterable[Path], value: object) -> bool:
    """Whether what was taken out may be the reason for a finding."""
    return any(
        _within(path, found.path)
        or any(_within(path, other) or _within(other, path) for other in found.rests_on)
        or (path[0] == found.looks_in and _may_be_meant(found, path, value))
        for path in removed
    )


def _within(path: Path, owner: Path) -> bool:
    return path[: len(owner)] == owner


def _may_be_meant(found: Finding, removed: Path, value: object) -> bool:
    """Whether a reference may be to what was taken out, by the names that this has in the file."""
    if len(removed) > 2 and removed[-1] != "name" and not isinstance(removed[-1], int):
        return False
    named = [removed[:size] for size in (2, 4) if size <= len(removed)]
    names = [_name(_look(value, path)) for path in named]
    if not names or None in names[:1]:
        return True
    names += [f"nic{path[-1]}" for path, name in zip(named, names, strict=True) if name is None]
    words = {str(found.path[-1]), str(_look(value, found.path))}
    words |= {part for word in words for part in word.split(".")}
    return not words.isdisjoint(names)


def _name(item: object) -> object:
    name = item.get("name") if isinstance(item, dict) else None
    return name if isinstance(name, str) else None


def _look(value: Any, path: Path) -> Any:
    """What stands at a path of the file; None where nothing does."""
    try:
        return _at(value, path)
    except (LookupError, TypeError):
        return None

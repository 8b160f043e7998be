"""A topology file from name or path to a checked `Topology`, or all that is wrong with it."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from lab import paths
from lab.errors import Mistake, TopologyError, UsageError
from lab.model import repair, rules
from lab.model.places import Document, Finding, key_path, read_yaml
from lab.model.template import Parameter, Rendered, TemplateFaultError, parameters, render
from lab.model.topology import Topology
from lab.model.wording import close_to, details, finding

_SUFFIXES = (".yaml", ".yml", ".j2")


@dataclass(frozen=True)
class Source:
    """A topology file as it was read; ``shown`` is what messages call it."""

    shown: str
    text: str


def names() -> tuple[str, ...]:
    """The topologies that come with the lab."""
    return tuple(sorted(path.stem for path in paths.topologies().glob("*.yaml")))


def load_topology(name_or_path: str, settings: Mapping[str, str]) -> Topology:
    """Read, render and check one topology.

    A bare NAME is one of `names`; what has a slash or ends in .yaml, .yml or .j2 is a file.
    Raises UsageError when there is no such topology or parameter, TopologyError with every mistake
    of the file.
    """
    source = read_source(name_or_path)
    try:
        _check_settings(source, parameters(source.text), settings)
        rendered = render(source.text, settings)
    except TemplateFaultError as fault:
        raise _errors(source, None, None, [fault.finding]) from fault
    return _checked(source, rendered)


def topology_parameters(name_or_path: str) -> tuple[Parameter, ...]:
    """What ``--set`` may set in a topology. Raises as `load_topology` does."""
    source = read_source(name_or_path)
    try:
        return parameters(source.text)
    except TemplateFaultError as fault:
        raise _errors(source, None, None, [fault.finding]) from fault


def read_source(name_or_path: str) -> Source:
    """Find and read the file. Raises UsageError when there is none, TopologyError if no UTF-8."""
    path = _find(name_or_path)
    shown = os.path.relpath(path) if path.is_relative_to(pathlib.Path.cwd()) else str(path)
    try:
        return Source(shown, path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        fault = Mistake(shown, 0, 0, "", f"is not UTF-8 text (byte {error.start})")
        raise TopologyError([fault]) from error
    except OSError as error:
        raise UsageError(f"{shown}: {error.strerror}") from error


def _find(name_or_path: str) -> pathlib.Path:
    if os.sep in name_or_path or name_or_path.endswith(_SUFFIXES):
        return pathlib.Path(name_or_path)
    if name_or_path not in names():
        near = close_to(name_or_path, names())
        hint = f"{near} there are: {', '.join(names())}".strip()
        raise UsageError(f"there is no topology {name_or_path!r}", hint=hint)
    return paths.topologies() / f"{name_or_path}.yaml"


def _check_settings(
    source: Source, known: Iterable[Parameter], settings: Mapping[str, str]
) -> None:
    parameter_names = [parameter.name for parameter in known]
    for name in settings:
        if name not in parameter_names:
            there_are = f"parameters: {', '.join(parameter_names)}" if parameter_names else "none"
            hint = f"{close_to(name, parameter_names)} {there_are}".strip()
            raise UsageError(f"{source.shown} has no parameter {name!r}", hint=hint)


def _checked(source: Source, rendered: Rendered) -> Topology:
    document = read_yaml(rendered.text)
    found = list(document.findings)
    if document.value is None:
        raise _errors(source, rendered, document, found)
    try:
        topology = Topology.model_validate(document.value)
        found += rules.check(topology)
    except ValidationError as error:
        wrong = details(error)
        known = {item.path for item in document.findings if item.earlier is None}
        more = [*map(finding, wrong), *repair.rules_of_the_rest(document.value, wrong)]
        found += [each for each in more if each.path not in known]
        raise _errors(source, rendered, document, found) from error
    if found:
        raise _errors(source, rendered, document, found)
    return topology


def _errors(
    source: Source,
    rendered: Rendered | None,
    document: Document | None,
    found: Iterable[Finding],
) -> TopologyError:
    mistakes = [_mistake(source, rendered, document, item) for item in found]
    return TopologyError(sorted(mistakes, key=lambda mistake: (mistake.line, mistake.column)))


def _mistake(
    source: Source, rendered: Rendered | None, document: Document | None, item: Finding
) -> Mistake:
    position = item.position
    if position is None and document is not None and document.positions:
        position = document.position(item.path)
    line, column = position or (0, 0)
    message = item.message
    if item.other:
        message = message.replace("{other}", key_path(item.other))
    if item.earlier is not None and rendered is not None:
        message += f" in line {rendered.line(item.earlier) or item.earlier[0]}"
    if line and rendered is not None:
        original = rendered.line((line, column))
        if original is None:
            message += f" (line {line} after rendering)"
        line, column = (original, column) if original else (0, 0)
    return Mistake(source.shown, line, column, key_path(item.path), message, item.hint)

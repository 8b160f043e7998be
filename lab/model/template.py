"""The Jinja2 side of a topology file: its parameters, its rendering, and where lines came from.

A parameter is any variable that the file uses without setting it: ``{{ queues | default(1) }}``
declares ``queues`` in place. The sandbox keeps a file that somebody sent from reaching Python.
"""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NoReturn

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, meta, nodes
from jinja2.sandbox import SandboxedEnvironment

from lab.model.places import Finding, Position

_NAME = "<topology>"
# Private-use characters: they survive rendering, and no topology has a reason to hold them.
_OPEN, _CLOSE = "\ue000", "\ue001"
_MARKER = re.compile(f"{_OPEN}([0-9]+){_CLOSE}")
# What YAML 1.2 takes for a switch beside `true` and `false`: to Jinja2 they would be other words.
_OTHER_CASES = frozenset({"True", "TRUE", "False", "FALSE"})
# What an expression in a template can raise.
_FAULTS = (
    TemplateError,
    TypeError,
    ValueError,
    ArithmeticError,
    LookupError,
    AttributeError,
    RecursionError,
)


class _RefusedSettingError(TemplateError):
    """The template itself refuses the value of a parameter, by ``fail(...)``."""


class TemplateFaultError(Exception):
    """The template cannot be read or rendered; ``finding`` says why and where."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.message)
        self.finding = finding


@dataclass(frozen=True)
class Parameter:
    """What ``--set NAME=VALUE`` may set; ``default`` is None where the file gives none."""

    name: str
    default: str | None


@dataclass(frozen=True)
class Rendered:
    """The YAML text; ``lines`` are the places where another line of the file begins, and which.

    ``lines`` is None where that cannot be told (a text that is collected, and counted or cut).
    """

    text: str
    lines: tuple[tuple[Position, int], ...] | None

    def line(self, position: Position) -> int | None:
        """The line of the file that a place in the text came from, if that can be told."""
        if self.lines is None:
            return None
        before = bisect(self.lines, position, key=lambda start: start[0])
        return self.lines[before - 1][1] if before else 1


def _environment() -> SandboxedEnvironment:
    environment = SandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
    environment.globals["fail"] = _fail
    return environment


def _fail(message: object) -> NoReturn:
    """What a template calls for a value that means nothing to it."""
    raise _RefusedSettingError(str(message))  # what is undefined says so here


def parameters(source: str) -> tuple[Parameter, ...]:
    """The parameters of a template, by name. Raises TemplateFaultError."""
    environment = _environment()
    try:
        tree = environment.parse(source)
        used = meta.find_undeclared_variables(tree)  # this finds unknown filters
    except (TemplateSyntaxError, RecursionError) as error:
        raise TemplateFaultError(_finding(error)) from error
    names = used - set(environment.globals)
    defaults = _defaults(tree)
    return tuple(Parameter(name, defaults.get(name)) for name in sorted(names))


def _defaults(tree: nodes.Template) -> dict[str, str]:
    found: dict[str, str] = {}
    for use in tree.find_all(nodes.Filter):
        if isinstance(use.node, nodes.Name):
            default = _default(use)
            if default is not None:
                found.setdefault(use.node.name, default)
    return found


def _default(node: nodes.Expr | None) -> str | None:
    """The constant that ``x | default(constant)`` or ``x | default(y | default(...))`` ends in."""
    while isinstance(node, nodes.Filter) and node.name in {"default", "d"} and node.args:
        node = node.args[0]
    return str(node.value) if isinstance(node, nodes.Const) else None


def render(source: str, settings: Mapping[str, str]) -> Rendered:
    """Render with the settings. Raises TemplateFaultError."""
    values = {name: _value(text) for name, text in settings.items()}
    text = _render(source, values)
    try:
        marked = _render(_mark_lines(source), values)
    except TemplateFaultError:  # a text that it decides by has marks in it
        return Rendered(text, None)
    return Rendered(text, tuple(_lines(marked)) if _MARKER.sub("", marked) == text else None)


def _value(text: str) -> str | int:
    """A setting as a template has it: whole numbers are numbers, all else is text."""
    if text.isdecimal():
        return int(text)
    return text.lower() if text in _OTHER_CASES else text


def _render(source: str, values: Mapping[str, str | int]) -> str:
    environment = _environment()
    try:
        code = environment.compile(source, filename=_NAME)
        template = environment.template_class.from_code(environment, code, environment.globals)
        return template.render(values)
    except _FAULTS as error:
        raise TemplateFaultError(_finding(error)) from error


def _mark_lines(source: str) -> str:
    """The same template with its line numbers wherever text or an expression begins."""

    def mark(line: int) -> str:
        return f"{_OPEN}{line}{_CLOSE}"

    def marked(line: int, kind: str, text: str) -> str:
        if kind == "variable_begin":
            return f"{mark(line)}{text}"
        if kind != "data":
            return text
        head, *rest = text.split("\n")
        first = f"{mark(line)}{head}" if head.strip() else head
        return "\n".join([first, *(f"{mark(n)}{part}" for n, part in enumerate(rest, line + 1))])

    return "".join(marked(*token) for token in _environment().lex(source))


def _lines(marked: str) -> Iterator[tuple[Position, int]]:
    """Where in the text without the markers each of them stands, and what it says."""
    line, column = 1, 1
    text, *rest = _MARKER.split(marked)
    for said, following in zip(rest[::2], rest[1::2], strict=True):
        *lines, last = text.split("\n")
        line, column = line + len(lines), len(last) + (1 if lines else column)
        yield (line, column), int(said)
        text = following


def _finding(error: Exception) -> Finding:
    if isinstance(error, TemplateSyntaxError):
        line, words = error.lineno, error.message or ""
    else:
        line, words = _line_of(error), str(error)
    message = " ".join(words.split()) or type(error).__name__
    if isinstance(error, RecursionError):
        message = "it is nested too deeply"
    hint = ""
    if message.endswith("is undefined"):
        hint = "give it a value in the file with | default(...), or with --set"
    position = (line, 1) if line else None
    if isinstance(error, _RefusedSettingError):
        return Finding((), message, position=position)
    return Finding((), f"Jinja2 cannot render this: {message}", hint, position)


def _line_of(error: Exception) -> int:
    """Jinja2 rewrites the traceback so that the template's own lines stand in it."""
    trace, line = error.__traceback__, 0
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == _NAME:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line

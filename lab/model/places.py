"""YAML text into plain values, remembering where each stood; every mistake of the text at once.

YAML 1.2 is read, so ``on`` and ``52:54:00:12:34:56`` are text and not a boolean or a sexagesimal
number. Nodes are composed and turned into values here, because the library's own constructors
stop at the first duplicate key and forget the places of scalars.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

Path = tuple[str | int, ...]
Position = tuple[int, int]
"""Line and column of the rendered text, from 1."""

_SCALARS = frozenset(
    f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null")
)


@dataclass(frozen=True)
class Finding:
    """One mistake, before it is known which line of the file it is in.

    ``earlier`` is the place that the message ends with; ``other`` is the path that it calls
    ``{other}``.

    ``looks_in`` names the list that a reference points into, ``rests_on`` other values that the
    finding follows from: where those are mistaken themselves, nothing can be said.
    """

    path: Path
    message: str
    hint: str = ""
    position: Position | None = None
    earlier: Position | None = None
    other: Path = ()
    looks_in: str = ""
    rests_on: tuple[Path, ...] = ()


@dataclass(frozen=True)
class Document:
    """The values of one YAML document, and the position of each key or list item by its path."""

    value: object
    positions: Mapping[Path, Position]
    findings: tuple[Finding, ...]

    def position(self, path: Path) -> Position:
        """Where ``path`` stands; of something absent, where its nearest parent stands."""
        while path not in self.positions and path:
            path = path[:-1]
        return self.positions.get(path, (1, 1))


def key_path(path: Path) -> str:
    """A path as the file's reader thinks of it: ``guests[0].nics[1].mac``."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


def read_yaml(text: str) -> Document:
    """Read one document. A text that is no YAML gives a Document with one finding."""
    try:
        root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        return Document(None, {}, (_syntax(error),))
    except RecursionError:
        return Document(None, {}, (Finding((), "is nested too deeply"),))
    except YAMLError as error:  # characters that YAML refuses come without a mark
        return Document(None, {}, (Finding((), f"is not YAML: {error}".splitlines()[0]),))
    if root is None:
        return Document(None, {}, (Finding((), "the file says nothing"),))
    reader = _Reader()
    value = reader.read(root, ())
    return Document(value, reader.positions, tuple(reader.findings))


def _syntax(error: MarkedYAMLError) -> Finding:
    mark = error.problem_mark or error.context_mark
    position = (mark.line + 1, mark.column + 1) if mark else None
    words = ", ".join(part for part in (error.context, error.problem) if part)
    return Finding((), f"is not YAML: {words}", position=position)


class _Reader:
    """Walks a tree of nodes once."""

    def __init__(self) -> None:
        self.positions: dict[Path, Position] = {}
        self.findings: list[Finding] = []
        self._parents: list[Node] = []
        self._yaml = YAML(typ="safe", pure=True)

    def read(self, node: Node, path: Path) -> object:
        self.positions.setdefault(path, _start(node))
        if any(node is parent for parent in self._parents):
            self._find(node, path, "refers to itself")
            return None
        self._parents.append(node)
        try:
            return self._value(node, path)
        finally:
            self._parents.pop()

    def _value(self, node: Node, path: Path) -> object:
        if isinstance(node, MappingNode):
            return dict(self._items(node, path))
        if isinstance(node, SequenceNode):
            return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]
        if node.tag not in _SCALARS:
            self._find(node, path, f"has the tag {node.tag}, which means nothing here")
            return None
        try:
            return self._yaml.constructor.construct_object(node)
        except (ValueError, LookupError):  # `!!bool foo` and `!!int ""` are not foreseen there
            self._find(node, path, f"cannot be read as {node.tag.rpartition(':')[2]}")
            return None

    def _items(self, node: MappingNode, path: Path) -> Iterator[tuple[str, object]]:
        seen: dict[str, Position] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                self._find(key, path, "has a key that is not a plain word")
                continue
            name = str(key.value)
            if name in seen:
                self._find(key, (*path, name), "is already given", seen[name])
                continue
            seen[name] = _start(key)
            self.positions[*path, name] = _start(key)
            yield name, self.read(value, (*path, name))

    def _find(self, node: Node, path: Path, message: str, earlier: Position | None = None) -> None:
        self.findings.append(Finding(path, message, position=_start(node), earlier=earlier))


def _start(node: Node) -> Position:
    return node.start_mark.line + 1, node.start_mark.column + 1

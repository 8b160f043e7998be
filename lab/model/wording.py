"""Pydantic's errors in the words of a topology file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from lab.model.places import Finding
from lab.model.topology import Topology

_KINDS = {
    "missing": "is missing",
    "string_type": "must be text, not {input}",
    "int_type": "must be a whole number, not {input}",
    "tuple_type": "must be a list (lines that start with '- '), not {input}",
    "model_type": "must be a mapping (lines of 'key: value'), not {input}",
    "dict_type": "must be a mapping (lines of 'key: value'), not {input}",
    "too_short": "must have at least {min_length}",
    "too_long": "must have at most {max_length}",
    "string_too_short": "must not be empty",
}


def close_to(word: str, words: Iterable[str]) -> str:
    """A hint that names the nearest of ``words``, else empty."""
    close = get_close_matches(word, list(words), n=1)
    return f"did you mean {close[0]}?" if close else ""


def details(error: ValidationError) -> list[ErrorDetails]:
    """The errors, but for lists that pydantic calls too short because their items are wrong."""
    every = error.errors(include_url=False)

    def follows(one: ErrorDetails) -> bool:
        size, loc = len(one["loc"]), one["loc"]
        return any(len(other["loc"]) > size and other["loc"][:size] == loc for other in every)

    return [one for one in every if one["type"] != "too_short" or not follows(one)]


def finding(error: ErrorDetails) -> Finding:
    """One error of pydantic as a finding."""
    path, context = error["loc"], error.get("ctx", {})
    kind, value = error["type"], error["input"]
    if kind == "extra_forbidden":
        return _unknown_key(path)
    if kind in {"enum", "literal_error"}:
        return _not_one_of(path, value)
    if kind in {"greater_than_equal", "less_than_equal"}:
        return Finding(path, f"must be {_range(path)}, not {value}")
    if kind == "value_error":
        return Finding(path, f"{context['error']}: {show(value)}")
    text = _KINDS.get(kind)
    if text is None:
        return Finding(path, error["msg"])
    return Finding(path, text.format(input=show(value), **context))


def show(value: object) -> str:
    """A value of the file, short enough for one line."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _unknown_key(path: tuple[str | int, ...]) -> Finding:
    keys = sorted(_schema_at(path[:-1]).get("properties", {}))
    hint = close_to(str(path[-1]), keys) or f"known here: {', '.join(keys)}"
    return Finding(path, "is not a known key", hint)


def _not_one_of(path: tuple[str | int, ...], value: object) -> Finding:
    words = [str(word) for word in _schema_at(path).get("enum", ())]
    message = f"must be one of {', '.join(words)}, not {show(value)}"
    return Finding(path, message, close_to(str(value), words))


def _range(path: tuple[str | int, ...]) -> str:
    schema = _schema_at(path)
    return f"{schema['minimum']} to {schema['maximum']}"


@cache
def _schema() -> dict[str, Any]:
    return Topology.model_json_schema()


def _schema_at(path: tuple[str | int, ...]) -> Mapping[str, Any]:
    """The part of the published JSON schema that describes what stands at ``path``."""
    schema = _schema()
    for step in path:
        schema = _resolved(
            schema.get("items", {})
            if isinstance(step, int)
            else schema.get("properties", {}).get(step) or schema.get("additionalProperties", {})
        )
    return schema


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """Follow references; of ``X | None`` take X."""
    for option in schema.get("anyOf", ()):
        if option.get("type") != "null":
            return _resolved(option)
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/$defs/")
        return _resolved(_schema()["$defs"][name])
    return schema

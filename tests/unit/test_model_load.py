"""Topology files that are right."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from lab.model.load import load_topology, names, topology_parameters
from lab.model.template import Parameter, render
from lab.model.topology import Topology

A_MACRO = "a2 b3 x5 a2 b3 c6"
DOC = Path(__file__).parents[2] / "docs" / "topology-format.md"


@pytest.mark.parametrize("name", names())
def test_ours_load_without_any_setting(name: str) -> None:
    assert load_topology(name, {}).topology == name


def test_parameters_with_their_defaults() -> None:
    assert topology_parameters("vhost") == (
        Parameter("cpus", "1"),
        Parameter("queues", "1"),
        Parameter("vhost", "on"),
    )
    assert Parameter("active", "2") in topology_parameters("multiqueue")
    assert Parameter("vlan", None) in topology_parameters("sriov")


@pytest.mark.parametrize(
    ("word", "meaning"),
    [("on", True), ("yes", True), ("true", True), ("off", False), ("no", False), ("false", False)],
)
def test_switches(word: str, meaning: bool) -> None:
    topology = load_topology("vhost", {"vhost": word})
    assert topology.guests[0].nics[0].vhost is meaning


@pytest.mark.parametrize(
    ("name", "parameter"), [("failover", "abort"), ("macvtap", "hairpin"), ("multiqueue", "vhost")]
)
@pytest.mark.parametrize(("word", "small"), [("True", "true"), ("FALSE", "false")])
def test_a_switch_is_the_same_to_the_template_and_to_yaml(
    name: str, parameter: str, word: str, small: str
) -> None:
    assert load_topology(name, {parameter: word}) == load_topology(name, {parameter: small})


def test_claims_about_queues_come_with_several() -> None:
    for name in ("vhost", "macvtap"):
        one, two = (load_topology(name, {"queues": number}) for number in "12")
        assert {expect.queues for expect in one.expect.values()} == {None}
        assert {expect.queues for expect in two.expect.values()} == {2}
        assert {guest.cpus for guest in two.guests} == {2}


def test_a_setting_of_digits_is_a_number() -> None:
    assert render("{{ n * 2 }}{{ t }}", {"n": "4", "t": "x"}).text == "8x"


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("a\n{{ x }}\nb\n", "a1 x2 b3"),
        ("{% for i in [1, 2] %}\n- x\n{% endfor %}\nb", "-2 x2 -2 x2 b4"),
        ("{% for i in [1, 2] -%}\n- x\n{% endfor %}\nb", "-2 x2 -2 x2 b4"),
        ("{% for i in [1, 2] %}- x\n{% endfor %}b", "-1 x1 -1 x1 b2"),
        ("{# one\ntwo #}\nb", "b3"),
        ("{% raw %}\n{{ x }}\n{% endraw %}\nb", "{{2 x2 }}2 b4"),
        ("a\n\n{%- if x %}\nb\n{%- endif %}\n", "a1 b4"),
        ("{# one -#}\n\n{% set y = 1 -%}\na\n{% if y -%}\n\nb\n{%- endif %}", "a4 b7"),
        ("{% if x -%}\n{{ x }}: a\n{% endif %}", "x:2 a2"),
        ("{a, {% if x -%}\n b {%- endif %} }", "{a,1 b2 }2"),
        ("{% set y %}\na\n\nb\n{% endset %}\nc\n{{ y }} d\n", "c6 a2 b4 d7"),
        ("{% macro m() -%}\na\nb\n{%- endmacro %}\n{{ m() }} {{ x }}\n{{ m() }} c", A_MACRO),
        ("{{ 'a\nb' }}\nc", "a1 b1 c3"),
    ],
)
def test_lines_are_those_of_the_file(source: str, lines: str) -> None:
    rendered = render(source, {"x": "x"})
    found = [
        f"{word.group()}{rendered.line((number, word.start() + 1))}"
        for number, text in enumerate(rendered.text.split("\n"), 1)
        for word in re.finditer(r"\S+", text)
    ]
    assert " ".join(found) == lines


@pytest.mark.parametrize(
    "source",
    [
        "{% set y %}\na\n{% endset %}\n{{ y | length }}\n\n\n",
        "{% set y %}{{ x }}{% endset %}\n{{ y if y == x else 'other' }}",
        "{% set y %}{{ x }}{% endset %}\n{{ x if y == x else fail('other') }}",
    ],
    ids=["counted", "compared", "refused"],
)
def test_lines_that_cannot_be_told(source: str) -> None:
    assert render(source, {"x": "x"}).line((1, 1)) is None


def test_a_loaded_topology_cannot_be_changed() -> None:
    topology = load_topology("vhost", {})
    with pytest.raises(ValueError, match="frozen"):
        topology.title = "other"  # type: ignore[misc]


@pytest.mark.parametrize("suffix", [".yaml", ".yml", ".j2"])
def test_the_documented_example_loads(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = re.search(r"```yaml\n(.*?)```", DOC.read_text(), re.DOTALL)
    assert example is not None
    (tmp_path / f"example{suffix}").write_text(example[1])
    monkeypatch.chdir(tmp_path)
    assert load_topology(f"example{suffix}", {"queues": "2"}).topology == "example"


def test_every_key_is_documented() -> None:
    text = DOC.read_text()
    assert [
        key for key in sorted(_keys(Topology.model_json_schema())) if f"`{key}" not in text
    ] == []


def _keys(schema: dict[str, Any]) -> set[str]:
    parts = [schema, *schema["$defs"].values()]
    return {key for part in parts for key in part.get("properties", {})}

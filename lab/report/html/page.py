"""A run and a ladder as pages. Pure: the same records make the same page, at any time."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePath
from urllib.parse import quote

from lab.artifacts import PAGE_FILE, TOLD
from lab.evidence.whole import Evidence
from lab.report.html import ladder
from lab.report.html.costs import nic_costs
from lab.report.html.path import nic_paths
from lab.report.html.render import render
from lab.report.html.text import folded, tail
from lab.report.html.timeline import timeline
from lab.report.html.topology import topology
from lab.report.ladderwords import CHANCE_LEGEND, SIGNS_LEGEND
from lab.report.result import Result
from lab.report.rungs import Ladder
from lab.report.summary import ran_on, summary, upstream
from lab.report.verdict import Check, Outcome

_KINDS = {
    "-console.log": "what a guest wrote on its console",
    ".pcapng": "captured packets, for Wireshark",
    ".log": "a log",
}


@dataclass(frozen=True)
class Command:
    """Something to be pasted; ``text`` is what the copy button takes."""

    title: str
    text: str


@dataclass(frozen=True)
class File:
    """An artifact beside the page."""

    name: str
    link: str
    told: str


@dataclass(frozen=True)
class CheckGroup:
    """The checks of one NIC, or those of the whole run."""

    title: str
    checks: tuple[Check, ...]


def run_page(
    result: Result, evidence: Evidence | None, texts: Mapping[str, str], folder: str = ""
) -> str:
    """The page of one run.

    ``texts`` are logs by their names, ``folder`` is where the artifacts lie as seen from the page,
    empty for beside it. ``evidence`` is ``None`` where the run ended without.
    """
    files = tuple(_files(result, folder))
    nics = tuple(nic_paths(result, evidence))
    return render(
        "run.html.j2",
        result=result,
        summary=summary(result),
        red=[check for check in result.checks if not check.outcome.green],
        costs=tuple(nic_costs(name, costs) for name, costs in result.costs.items()),
        emulated="tcg" in {result.accelerator.labhost, result.accelerator.guest},
        lives=tuple(timeline(life) for life in result.life),
        groups=tuple(_groups(result.checks)),
        nics=nics,
        topology=topology([nic.way for nic in nics]) if len(nics) > 1 else None,
        commands=tuple(_commands(result)),
        ran_on=ran_on(result),
        tails=[tail(name, text) for name, text in sorted(texts.items()) if text.strip()],
        files=files,
        links={file.name: file.link for file in files},
        chance=CHANCE_LEGEND,
    )


def ladder_page(found: Ladder, folder: str = "") -> str:
    """The page of a ladder.

    ``folder`` is where the page will lie, so that it can lead to those of the runs; without it the
    page has no links.
    """
    broken = [each for each in found.promises if not each.outcome.green]
    return render(
        "ladder.html.j2",
        ladder=found,
        kept=sum(each.outcome is Outcome.PASS for each in found.promises),
        green=sum(rung.outcome.green for rung in found.rungs),
        broken=broken,
        alarmed=bool(broken or found.flags or any(rung.problems for rung in found.rungs)),
        promised=ladder.PROMISES,
        rungs=tuple(ladder.rung_parts(found, folder, PAGE_FILE)),
        plots=tuple(ladder.plots(found)),
        table=tuple(ladder.table(found)),
        changes=tuple(ladder.changes(found)),
        signs=SIGNS_LEGEND,
        chance=CHANCE_LEGEND,
        upstream=upstream(found.versions.labhost_qemu),
    )


def _groups(checks: tuple[Check, ...]) -> Iterator[CheckGroup]:
    """By the NIC in front of the names, in order; what has none is of the whole run."""
    titles = dict.fromkeys(_owner(check) for check in checks)
    for title in titles:
        yield CheckGroup(title, tuple(check for check in checks if _owner(check) == title))


def _owner(check: Check) -> str:
    owner, slash, _ = check.name.rpartition("/")
    return owner if slash else ""


def _commands(result: Result) -> Iterator[Command]:
    for guest, command in result.commands.items():
        yield Command(f"QEMU of {guest}", folded(command))
    for guest, lines in result.qmp.items():
        if lines:
            yield Command(f"QMP commands to {guest}", "\n".join(lines))
    if result.error and result.error.argv:
        yield Command("The program that ended", folded(shlex.join(result.error.argv)))


def _files(result: Result, folder: str) -> Iterator[File]:
    for name in sorted(PurePath(path).name for path in result.artifacts.values()):
        if name != PAGE_FILE:
            link = quote(f"{folder}/{name}" if folder else name)
            yield File(name, link, _told(name))


def _told(name: str) -> str:
    kinds = (told for end, told in _KINDS.items() if name.endswith(end))
    return TOLD.get(name) or next(kinds, "")

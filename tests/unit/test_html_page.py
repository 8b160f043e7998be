"""The pages as text: whole, the same every time, and nobody else's words become HTML."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest

from lab.plan.data import Place
from lab.report.html.page import ladder_page, run_page
from lab.report.verdict import Outcome
from tests import pages, sample

INVISIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
RUN = run_page(pages.full(), sample.evidence(), {"dmesg.log": "br0: port 1 entered"})
LADDER = ladder_page(pages.ladder(), "/results")


def test_a_run_is_told_whole() -> None:
    result = pages.full()
    for words in (
        result.title,
        "PASS: vhost",
        *(check.name for check in result.checks),
        *result.commands.values(),
        "br0: port 1 entered",
        'href="capture.pcapng"',
        "Linux 6.12.57 on QEMU 10.0.13, TCG",
        "dropped in br_dev_queue_push_xmit",
        "2.31 (2.20 to 2.44)",
        "no device was passed through",
        "clock source",
        "never beside hardware",
    ):
        assert words in RUN.replace(" \\\n  ", " "), words


def test_a_ladder_is_told_whole() -> None:
    for words in ("e1000", "sriov", "contradicted", "KVM_EXIT_MMIO", "AMD EPYC", "14.0"):
        assert words in LADDER, words
    assert 'href="ladder/vhost-1/report.html"' in LADDER


def test_a_ladder_without_a_place_has_no_links() -> None:
    assert "report.html" not in ladder_page(pages.ladder())


def test_a_folder_with_a_strange_name_is_only_a_folder() -> None:
    ladder = pages.ladder()
    rung = ladder.rungs[0].model_copy(update={"folders": ("/results/javascript:alert(1) %",)})
    page = ladder_page(ladder.model_copy(update={"rungs": (rung,)}), "/results")
    assert 'href="javascript%3Aalert%281%29%20%25/report.html"' in page


def test_the_same_records_make_the_same_page() -> None:
    texts = {"dmesg.log": "br0: port 1 entered"}
    assert run_page(pages.full(), sample.evidence(), texts) == RUN
    assert ladder_page(pages.ladder(), "/results") == LADDER


@pytest.mark.parametrize("page", [RUN, LADDER], ids=["run", "ladder"])
def test_nothing_is_loaded(page: str) -> None:
    assert not re.search(r"""\bsrc\s*=|url\(['"]?(?!#)|@import|href="(?:https?:|//)""", page)


@pytest.mark.parametrize("page", [RUN, LADDER], ids=["run", "ladder"])
def test_the_policy_names_style_and_script_as_they_are(page: str) -> None:
    for tag in ("style", "script"):
        found = re.search(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert found
        digest = base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()
        assert f"{tag}-src &#39;sha256-{digest}&#39;" in page.replace("'", "&#39;")


@pytest.mark.parametrize(
    "page",
    [
        run_page(
            pages.spoiled(pages.full()),
            pages.spoiled(sample.evidence()),
            {f"{pages.CONTROLS}{pages.EVIL}.log": pages.CONTROLS + pages.EVIL},
        ),
        run_page(pages.spoiled(pages.failing()), pages.spoiled(sample.evidence()), {}),
        run_page(pages.spoiled(pages.dead()), None, {}),
        ladder_page(pages.spoiled(pages.ladder()), "/results"),
    ],
    ids=["run", "failing", "dead", "ladder"],
)
def test_text_of_others_stays_text(page: str) -> None:
    assert page.count("<script") == page.count("</script") == 1
    assert "<img" not in page
    assert "&lt;script&gt;" in page
    assert not INVISIBLE.search(page)
    assert "\u2400\u2407\ufffd\ufffd\ufffd" in page


def test_what_is_red_comes_first() -> None:
    page = run_page(pages.failing(), sample.evidence(), {})
    assert page.index('id="red"') < page.index('id="path"') < page.index('id="checks"')
    assert "last seen at br0, not seen at tap0, guest" in page


def test_why_a_run_ended_comes_first() -> None:
    page = run_page(pages.dead(), None, {"guest-console.log": "panic"})
    assert page.index("guest ended with status 1") < page.index("deadlocked on memory")
    assert "look at its console" in page
    assert 'id="path"' not in page


@pytest.mark.parametrize("number", [8, 21, 48])
def test_all_nics_are_in_one_picture_however_many(number: int) -> None:
    page = run_page(pages.several(number, 3, 8), sample.evidence(), {})
    (drawing,) = re.findall(r"<title id=\"topology-title\">.*?</svg>", page, re.DOTALL)
    assert drawing.count(">tap") == number
    assert "…<" not in drawing


def test_outcomes_are_words_too() -> None:
    for outcome in (Outcome.PASS, Outcome.FAIL):
        result = pages.full().model_copy(update={"outcome": outcome})
        assert f"</span> {outcome.value}</span>" in run_page(result, None, {})


def test_links_lead_to_where_the_folder_is() -> None:
    page = run_page(pages.full(), sample.evidence(), {}, "../a run")
    assert 'href="../a%20run/capture.pcapng"' in page


def test_a_run_on_this_machine_says_so() -> None:
    result = pages.full().model_copy(update={"place": Place.HERE})
    assert "its own kernel" in run_page(result, sample.evidence(), {})

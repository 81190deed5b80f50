"""A page inside the page in Airflow: links lead somewhere, and actions are for those who may do them."""

from __future__ import annotations

import json
import re
from html import unescape

import pytest

from keel.reports import html, markdown, text
from keel.reports.page import Action, Actions, Field, Local, Page, Paragraph, Section, Table
from tests.support.reports.html_reader import read
from tests.support.reports.sample_page import MARKUP, every_block

PROMOTE = Action(
    "Promote",
    "POST",
    "models/promote",
    "Version 3 answers all requests from then on.",
    (("model", MARKUP), ("version", 3)),
    (Field("reason", "Reason", required=True), Field("share", "Share", "choice", "5%", ("5%", "50%"))),
    "a.promote",
    danger=True,
)
CHECK = Action("Check now", "POST", "drift/check-and-retrain", "The check starts.", dag_id="a.drift_check")
FREE = Action("Refresh", "POST", "keel/refresh", "It is read again.")


def page_of(*actions: Action) -> Page:
    table = Table(
        "Models",
        ("model", "", "share"),
        ((Local(MARKUP, "models/a b"), Actions(actions), "1"), ("b", Actions(()), "2")),
        (2,),
    )
    blocks = (Paragraph("See", (Local("the check", "models/a/checks?window=x&y=1#s1"),)), Actions(actions), table)
    return Page("Models", "all", "Fine.", sections=(Section("Now", blocks),))


def described(document: str) -> list[dict[str, object]]:
    return [json.loads(unescape(found)) for found in re.findall('data-action="([^"]*)"', document)]


def test_fragment_links_lead_below_the_root_of_the_pages():
    found = read(html.fragment(page_of(), root="/airflow/keel/", may=lambda _: True))
    assert found.links == ["/airflow/keel/models/a/checks?window=x&y=1#s1", "/airflow/keel/models/a%20b"]


@pytest.mark.parametrize("path", ["//evil.test", "/\\evil.test", "javascript:alert(1)", '"><script>', "https://a.test"])
def test_fragment_no_path_leaves_the_pages(path: str):
    page = Page("a", "b", "c", sections=(Section("d", (Paragraph("e", (Local("f", path),)),)),))
    found = read(html.fragment(page, root="/keel", may=lambda _: True))
    (link,) = found.links
    assert link.startswith("/keel/")
    assert not link.startswith("/keel//")
    assert "script" not in {name for name, _ in found.elements}


def test_fragment_action_says_what_to_send_and_stays_text():
    document = html.fragment(page_of(PROMOTE), root="/keel", may=lambda _: True)
    assert "<img" not in document
    first, second = described(document)
    assert first == second
    assert (first["method"], first["path"]) == ("POST", "models/promote")
    assert first["body"] == {"model": MARKUP, "version": 3}
    assert [field["name"] for field in first["fields"]] == ["reason", "share"]
    assert first["danger"]


def test_fragment_only_who_may_run_a_dag_gets_its_action():
    allowed = described(html.fragment(page_of(PROMOTE, CHECK), root="/keel", may=lambda dag: dag == "a.drift_check"))
    assert [action["label"] for action in allowed] == ["Check now", "Check now"]
    none = html.fragment(page_of(PROMOTE, CHECK), root="/keel", may=lambda _: False)
    assert not described(none)
    assert none.count('scope="col"') == 2  # without the column that would hold them
    assert [a["label"] for a in described(html.fragment(page_of(FREE), root="/keel", may=lambda _: False))] == [
        "Refresh",
        "Refresh",
    ]


@pytest.mark.parametrize("render", [html.render, html.notebook, text.plain, markdown.render])
def test_elsewhere_links_are_text_and_there_is_no_action(render):
    shown = render(page_of(PROMOTE))
    assert "the check" in shown
    assert "models/" not in shown
    assert "Promote" not in shown
    assert shown == render(page_of())


def test_fragment_is_the_document_without_what_surrounds_it():
    document, part = html.render(page_of()), html.fragment(page_of(), root="/keel", may=lambda _: True)
    assert re.sub("<a [^>]*>|</a>", "", part) in document


def test_fragment_wide_table_names_each_cell_for_a_phone():
    page = Page("a", "b", "c", sections=(Section("d", (Table("t", ("x", MARKUP), (("1", "2"),), wide=True),)),))
    (cell,) = re.findall("<td[^>]*>", html.fragment(page, root="/keel", may=lambda _: True))
    assert unescape(cell) == f'<td role="cell" data-label="{MARKUP}">'
    assert "data-label" not in html.render(page)


def test_themed_style_has_all_rules_of_the_document():
    document = html.render(every_block())
    (style,) = re.findall("<style>(.*?)</style>", document.replace("\n", " "))
    rules = style[style.index("* { box-sizing") :]
    assert rules in html.themed_style().replace("\n", " ")

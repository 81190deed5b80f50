"""A page as Markdown, read by a parser of CommonMark with GitHub's tables, links and strike-throughs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from keel.reports import markdown
from keel.reports.page import Command, Fact, Items, Link, Page, Paragraph, Section, Table, Tag
from keel.values.texts import shown
from tests.support.reports.sample_page import every_block, many_columns

PARSER = MarkdownIt("gfm-like")
assert PARSER.linkify is not None
PARSER.linkify.set({"fuzzy_link": False})  # GitHub makes no link of "a.org"; this parser would
SIGNS = st.text(st.sampled_from("\\`*_{}[]<>()#+-.!|~&;:/=\"' 1ab\n\t"), max_size=30)
MEANT = [
    "a_b_c",
    "__init__",
    "www.x.org",
    "ftp://x",
    "&amp;",
    "1. a",
    "- - -",
    "===",
    "~~a~~",
    "![x](y)",
    "a  b",
    "\\|",
    "a@b.org",
]


def texts_of(source: str) -> tuple[list[str], set[str]]:
    """Return the texts of a document, a block each, and the kinds of its elements."""
    blocks, kinds = [], set()
    for token in PARSER.parse(source):
        kinds.add(token.type)
        if token.type in {"inline", "fence"}:
            parts = token.children or [token]
            kinds |= {part.type for part in parts}
            blocks.append("".join(part.content for part in parts))
    return blocks, kinds


@settings(deadline=None, max_examples=200, derandomize=True)
@given(SIGNS | st.text(max_size=30) | st.sampled_from(MEANT))
def test_safe_any_text_is_read_back_as_that_text(text: str):
    flat = " ".join(shown(text).split())
    blocks, kinds = texts_of(markdown.safe(text))
    assert "".join(blocks) == flat
    assert kinds <= {"paragraph_open", "inline", "text", "text_special", "paragraph_close"}


@settings(deadline=None, max_examples=50, derandomize=True)
@given(SIGNS)
def test_render_any_text_leaves_the_page_its_form(text: str):
    def page(text: str) -> Page:
        table = Table("caption", ("a" + text, text), ((text, Tag("b" + text)), (Link(text, "https://x.example"), text)))
        blocks = (Paragraph("c" + text), Items(("d" + text,)), Command(text), table)
        return Page(
            "e", "f" + text, "g" + text, Tag("h" + text), text, (Fact("i" + text, (text,)),), (Section("j", blocks),)
        )

    forms = [[token.type for token in PARSER.parse(markdown.render(page(each)))] for each in (text or "x", "x")]
    if " ".join(shown(text).split()):
        assert forms[0] == forms[1]


def test_render_holds_no_html():
    assert not texts_of(markdown.render(every_block()))[1] & {"html_block", "html_inline"}


def test_render_many_columns_writes_the_worst_and_counts_the_rest():
    rendered = markdown.render(many_columns(5_000))
    assert "**column_99**" in rendered
    assert "column_100" not in rendered
    assert "4,900 more are not shown here" in rendered


@pytest.mark.parametrize("href", ["https://x.example/a(b)", "https://x.example/<b>|c", "https://x.example/a\\>b"])
def test_render_a_link_leads_to_its_address(href: str):
    page = Page("a", "b", "c", sections=(Section("d", (Paragraph("e", (Link("run]", href),)),)),))
    links = [
        child.attrs["href"]
        for t in PARSER.parse(markdown.render(page))
        for child in t.children or []
        if "href" in child.attrs
    ]
    assert len(links) == 1
    assert str(links[0]).startswith("https://x.example/")

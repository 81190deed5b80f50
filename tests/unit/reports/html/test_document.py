"""A page as an HTML document: texts stay texts, it stays small, and its policy allows no request."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keel.reports import html
from keel.reports.page import (
    ColumnCard,
    ColumnCards,
    Command,
    Details,
    Fact,
    Facts,
    Items,
    Link,
    Measure,
    Page,
    Paragraph,
    Section,
    Table,
    Tag,
)
from keel.values.texts import shown
from tests.support.reports.html_reader import read
from tests.support.reports.sample_page import MARKUP, card, every_block, many_columns


def page_of(text: str) -> Page:
    """A page that says ``text`` everywhere, and nothing else."""
    one = ColumnCard(text, text, text, Tag(text), None, text, text, (Measure(text, text, text),), (text,))
    cards = ColumnCards((one, one), text, text, text)
    table = Table(text, (text, text), ((text, Tag(text)), (Link(text, text), text)), (1,), wide=True)
    fact = Fact(text, (text, text))
    blocks = (Facts((fact,)), Paragraph(text, (Link(text, text),)), Items((text,)), Command(text), table, cards)
    sections = (Section(text, (*blocks, Details(text, (*blocks, Details(text, (Paragraph(text),)))))),)
    return Page(text, text, text, Tag(text), text, (fact,), sections, (text,))


HARMLESS = read(html.render(page_of("word")))


@settings(deadline=None, max_examples=30, derandomize=True)
@given(
    st.text(st.characters(codec=None), min_size=1, max_size=60) | st.sampled_from([MARKUP, "&lt;", "</script>", "]]>"])
)
def test_render_any_text_is_read_back_as_that_text(text: str):
    document = html.render(page_of(text))
    document.encode()
    found = read(document)
    assert [name for name in found.elements if name[0] != "a"] == [name for name in HARMLESS.elements if name[0] != "a"]
    assert sum(part.count(shown(text)) for part in found.texts) >= sum(part == "word" for part in HARMLESS.texts)


@pytest.mark.parametrize(
    ("href", "is_link"),
    [
        ("https://mlflow.example/#/runs/1", True),
        ("http://localhost:5000", True),
        ("HTTPS://mlflow.example", True),
        ("javascript:alert(1)", False),
        ("java\tscript:alert(1)", False),
        (" https://mlflow.example", False),
        ("data:text/html,x", False),
        ("//mlflow.example", False),
        ("https://", False),
        ("https://[", False),
        ("", False),
    ],
)
def test_render_only_an_address_of_the_web_becomes_a_link(href: str, is_link: bool):
    page = Page("a", "b", "c", sections=(Section("d", (Paragraph("e", (Link("run", href),)),)),))
    found = read(html.render(page))
    assert found.links == [href] * is_link
    assert "run" in " ".join(found.texts)


def test_render_control_characters_are_pictures():
    document = html.render(page_of("a\x00b\x1bc\u202ed"))
    assert "a␀b␛c‹U+202E›d" in document
    assert not set(document) & set("\x00\x1b\u202e")


def test_render_same_page_gives_the_same_bytes_in_another_process():
    code = (
        "import sys; from keel.reports import html; from tests.support.reports.sample_page import every_block;"
        "sys.stdout.buffer.write(html.render(every_block()).encode())"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, env={"PYTHONPATH": ":".join(sys.path)}
    )
    assert other.stdout == html.render(every_block()).encode()


def test_render_thousands_of_columns_lists_all_and_draws_the_worst():
    document = html.render(many_columns())
    found = read(document)
    assert len(document.encode()) < html.MAX_BYTES
    texts = {text.strip() for text in found.texts}
    assert {f"column_{i}" for i in range(5_000)} <= texts
    assert sum(name == "h3" for name, _ in found.elements) == 60


HUGE = 1_000_000


@pytest.mark.parametrize("character", ["x", "<", '"', "\x00", "\u202e", "\N{GRINNING FACE}", "\ud800", "\n"])
def test_render_texts_of_a_megabyte_are_cut_and_their_length_named(character: str):
    document = html.render(page_of(character * HUGE))
    assert len(document.encode()) < html.MAX_BYTES / 2
    assert "… (1,000,000 characters)" in document


@pytest.mark.parametrize("character", ["<", "\u202e"])
def test_render_thousands_of_endless_names_stay_within_the_limit(character: str):
    cards = tuple(card(character * 500, i) for i in range(70)) * 30
    page = Page("a", "b", "c", sections=(Section("d", (ColumnCards(cards), ColumnCards(cards))),))
    document = html.render(page)
    assert len(document.encode()) <= html.MAX_BYTES
    assert re.search(r"[\d,]+ more are not listed here", document)


def test_render_endless_tables_lists_and_sections_stay_within_the_limit():
    table = Table("all", ("a", "b"), (("x" * 300, "y" * 300),) * 100_000)
    items = Items(("z" * 3_000,) * 10_000)
    page = Page("a", "b", "c", sections=(Section("d", (table, items, Details("e", (table,)))),) * 50)
    document = html.render(page)
    assert len(document.encode()) <= html.MAX_BYTES
    assert "99,500 more are not shown here" in document
    assert "A part is left out here" in document
    assert document.count("<section") == document.count("</section>")
    assert document.count("<details") == document.count("</details>")


def test_render_policy_names_the_style_and_the_script_by_their_hash_and_nothing_else():
    document = html.render(every_block())
    policy = unescape(re.findall(r'Content-Security-Policy" content="([^"]+)"', document)[0])
    for name in ("style", "script"):
        (content,) = re.findall(rf"<{name}>(.*?)</{name}>", document, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert not [
        names for _, names in read(document).elements if "style" in names or any(n.startswith("on") for n in names)
    ]


def test_render_headings_are_in_order_and_ids_are_unique():
    document = html.render(every_block())
    levels = [int(name[1]) for name, _ in read(document).elements if re.fullmatch("h[1-6]", name)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))
    ids = re.findall(r' id="([^"]+)"', document)
    assert len(ids) == len(set(ids))


def test_render_page_without_anything_is_whole():
    found = read(html.render(Page("", "", "")))
    assert ("main", ()) in found.elements
    assert found.elements[-1] == ("/html", ())


def test_render_columns_without_any_says_so():
    page = Page("a", "b", "c", sections=(Section("d", (ColumnCards(()), Table("e", (), ()), Items(()))),))
    assert "There is no column." in html.render(page)


class Frame(HTMLParser):
    """The attributes of the first element."""

    attributes: dict[str, str | None] | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes = self.attributes or dict(attrs)


def test_notebook_frame_holds_the_page_and_lets_its_script_see_nothing():
    frame = Frame()
    frame.feed(html.notebook(every_block()))
    assert frame.attributes
    inside, alone = (
        "".join(read(each).texts) for each in (frame.attributes["srcdoc"] or "", html.render(every_block()))
    )
    assert inside == alone
    assert "allow-same-origin" not in (frame.attributes["sandbox"] or "")

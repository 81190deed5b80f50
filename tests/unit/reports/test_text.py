"""A page as text, on terminals and elsewhere."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from keel.reports import text
from keel.reports.page import ColumnCards, Page, Section
from tests.support.reports.sample_page import card, every_block, many_columns


@pytest.mark.parametrize("width", [40, 80, 100, 160])
def test_plain_fits_its_width_and_has_no_codes_of_a_terminal(width: int):
    plain = text.plain(every_block("\x1b[31mred"), width=width)
    assert max(map(cell_len, plain.splitlines())) <= width
    assert "\x1b" not in plain
    assert "␛[31mred" in plain.replace("\n", "")


def test_render_on_a_terminal_has_colours():
    page = every_block()
    console = Console(file=StringIO(), force_terminal=True, color_system="standard", width=100, legacy_windows=False)
    console.print(text.render(page))
    printed = console.file.getvalue()
    assert "\x1b[31mdrift" in printed


def test_render_where_the_encoding_has_no_blocks_does_not_fail():
    class Ascii(StringIO):
        encoding = "ascii"

    console = Console(file=Ascii(), width=100)
    console.print(text.render(every_block("Größe")))
    assert console.file.getvalue().isascii()
    assert "Gr??e" in console.file.getvalue()


@settings(deadline=None, max_examples=30, derandomize=True)
@given(st.text(st.characters(codec=None), min_size=1, max_size=60))
def test_plain_any_name_fits_and_adds_no_line(name: str):
    page = Page("a", "b", "c", sections=(Section("d", (ColumnCards((card(name),)),)),))
    lines = text.plain(page, width=80).splitlines()
    assert max(map(cell_len, lines)) <= 80


def test_plain_many_columns_prints_the_worst_and_counts_the_rest():
    plain = text.plain(many_columns(5_000))
    assert "column_29" in plain
    assert "column_30" not in plain
    assert "4,970 more are not printed here." in plain


def test_plain_narrow_terminal_leaves_the_distributions_out():
    page = replace(every_block("temp"), sections=every_block("temp").sections[1:2])
    assert "█" in text.plain(page, width=100)
    assert "█" not in text.plain(page, width=60)

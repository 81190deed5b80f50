from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keel.values.texts import shown, to_ascii

ANY = st.text(st.characters(codec=None), max_size=80)


@settings(deadline=None, max_examples=200, derandomize=True)
@given(ANY)
def test_shown_holds_no_character_that_is_invisible_or_moves_others(text: str):
    kinds = {unicodedata.category(c) for c in shown(text) if c not in "\u200c\u200d"}
    assert not kinds & {"Cc", "Cf", "Cs", "Zl", "Zp"}


@pytest.mark.parametrize("text", ["temp", "Größe", "目的地", "شمال", "می\u200cروم", "a b", "<b>", "\N{GRINNING FACE}"])
def test_shown_leaves_what_people_write_as_it_is(text: str):
    assert shown(text) == text


def test_shown_names_that_differ_by_what_is_invisible_look_different():
    assert len({shown(name) for name in ("temp", "temp\u200b", "temp\x00", "te\u202emp", "\ufefftemp")}) == 5


@settings(deadline=None, derandomize=True)
@given(ANY)
def test_to_ascii_has_as_many_characters(text: str):
    assert to_ascii(text).isascii()
    assert len(to_ascii(text)) == len(text)

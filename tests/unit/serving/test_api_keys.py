"""Who may ask: keys by name, read again when they change, compared in the same time."""

from __future__ import annotations

import hmac
import logging

import pytest

from keel.errors import ConfigError
from keel.serving import api_keys as module
from keel.serving.api_keys import Keys, presented, read_keys

ANN, BOB, EVE = "a" * 32, "b" * 32, "e" * 32


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"# who may ask\nann:{ANN}\n\n  bob   {BOB}\n")
    return file


def test_every_key_has_its_name(path):
    keys = Keys(path)
    assert len(keys) == 2
    assert [keys.name_of(key) for key in (ANN, BOB, EVE, "", ANN[:-1], ANN + "a", "ä" * 16)] == [
        "ann",
        "bob",
        *[None] * 5,
    ]


def test_no_key_lies_in_memory(path):
    keys = Keys(path)
    assert ANN not in repr(vars(keys))
    assert ANN.encode() not in repr(vars(keys)).encode()


def test_all_digests_are_compared_whichever_matches(path, monkeypatch):
    compared = []
    monkeypatch.setattr(
        module.hmac, "compare_digest", lambda a, b: compared.append((len(a), len(b))) or hmac_compare(a, b)
    )
    keys = Keys(path)
    for key in (ANN, BOB, EVE, ""):
        compared.clear()
        keys.name_of(key)
        assert compared == [(32, 32), (32, 32)]


hmac_compare = hmac.compare_digest


def test_a_change_counts_from_the_next_request_on(path):
    keys = Keys(path)
    path.write_text(f"bob:{BOB}\neve:{EVE}\n")
    assert [keys.name_of(key) for key in (ANN, BOB, EVE)] == [None, "bob", "eve"]
    replacement = path.with_name("new")
    replacement.write_text(f"ann:{ANN}\n")
    replacement.replace(path)
    assert [keys.name_of(key) for key in (ANN, BOB, EVE)] == ["ann", None, None]


def test_what_a_broken_file_said_before_holds_until_it_is_mended(path, caplog):
    keys = Keys(path)
    path.write_text(f"ann:{ANN}\nbob\n")
    with caplog.at_level(logging.ERROR):
        assert keys.name_of(BOB) == "bob"
        assert keys.name_of(ANN) == "ann"
    assert len(caplog.records) == 1, "once, not with every request"
    assert "line 2" in caplog.text
    path.unlink()
    assert keys.name_of(ANN) == "ann"
    path.write_text(f"eve:{EVE}")
    assert keys.name_of(ANN) is None
    assert keys.name_of(EVE) == "eve"


def test_an_empty_file_lets_nobody_in(path):
    keys = Keys(path)
    path.write_text("# nobody\n")
    assert [keys.name_of(key) for key in (ANN, BOB, "")] == [None] * 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ann", "line 1: no name and key"),
        (f"ann:{ANN} {BOB}", "line 1: no name and key"),
        ("\nann:short", "line 2: the key has fewer than 16"),
        (f"{ANN}:ann", "line 1: the key has fewer than 16"),
        (f"ann:{ANN}\nann:{BOB}", "line 2: ann has a key already"),
    ],
)
def test_a_line_that_is_no_key_is_named_without_the_key(tmp_path, text, said):
    path = tmp_path / "keys"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_keys(path)
    assert said in str(caught.value)
    assert not any(key in str(caught.value) for key in (ANN, BOB, "short"))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match="KEEL_API_KEYS_FILE"):
        Keys(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ([(b"authorization", b"Bearer k"), (b"accept", b"*/*")], "k"),
        ([(b"authorization", b"bearer  k ")], "k"),
        ([(b"x-api-key", b"k")], "k"),
        ([(b"authorization", b"Basic azpr")], None),
        ([(b"authorization", b"k")], None),
        ([], None),
    ],
)
def test_a_key_comes_in_one_of_two_headers(headers, key):
    assert presented(headers) == key

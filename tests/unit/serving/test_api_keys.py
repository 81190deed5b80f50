"""API keys: found by name, read again when the file changes, compared in constant time."""

from __future__ import annotations

import hmac
import logging

import pytest

from keel.errors import ConfigError
from keel.serving.api_keys import ApiKeys, key_in, read_keys

ANN, BOB, EVE = "a" * 32, "b" * 32, "e" * 32


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"# clients\nann:{ANN}\n\n  bob   {BOB}\n")
    return file


def names_of(keys, *candidates):
    return [keys.name_of(key) for key in candidates]


def test_api_keys_find_the_name_of_each_key_and_of_no_other(path):
    keys = ApiKeys(path)
    assert len(keys) == 2
    assert names_of(keys, ANN, BOB) == ["ann", "bob"]
    assert names_of(keys, EVE, "", ANN[:-1], ANN + "a", "ä" * 16) == [None] * 5


def test_api_keys_hold_no_key_in_memory(path):
    keys = ApiKeys(path)
    assert ANN not in repr(vars(keys))
    assert ANN.encode() not in repr(vars(keys)).encode()


def test_api_keys_compare_all_digests_whichever_matches(path, monkeypatch):
    compare, lengths = hmac.compare_digest, []
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: lengths.append((len(a), len(b))) or compare(a, b))
    keys = ApiKeys(path)
    for key in (ANN, BOB, EVE, ""):
        lengths.clear()
        keys.name_of(key)
        assert lengths == [(32, 32), (32, 32)]


def test_api_keys_use_a_changed_file_from_the_next_request_on(path):
    keys = ApiKeys(path)
    path.write_text(f"bob:{BOB}\neve:{EVE}\n")
    assert names_of(keys, ANN, BOB, EVE) == [None, "bob", "eve"]
    replacement = path.with_name("new")
    replacement.write_text(f"ann:{ANN}\n")
    replacement.replace(path)
    assert names_of(keys, ANN, BOB, EVE) == ["ann", None, None]


def test_api_keys_stay_valid_while_the_file_is_invalid(path, caplog):
    keys = ApiKeys(path)
    path.write_text(f"ann:{ANN}\nbob\n")
    with caplog.at_level(logging.ERROR):
        assert names_of(keys, BOB, ANN) == ["bob", "ann"]
    assert len(caplog.records) == 1, "the error is logged once, not for every request"
    assert "line 2" in caplog.text
    path.unlink()
    assert names_of(keys, ANN) == ["ann"]
    path.write_text(f"eve:{EVE}")
    assert names_of(keys, ANN, EVE) == [None, "eve"]


def test_api_keys_of_an_empty_file_give_no_access(path):
    keys = ApiKeys(path)
    path.write_text("# no keys\n")
    assert names_of(keys, ANN, BOB, "") == [None] * 3


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("ann", 1, "not a name and a key"),
        (f"ann:{ANN} {BOB}", 1, "not a name and a key"),
        ("\nann:short", 2, "fewer than 16 characters"),
        (f"{ANN}:ann", 1, "fewer than 16 characters"),
        (f"ann:{ANN}\nann:{BOB}", 2, "ann already has a key"),
    ],
)
def test_read_keys_with_an_invalid_line_names_the_line_but_no_key(tmp_path, text, line, reason):
    path = tmp_path / "keys"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_keys(path)
    message = str(caught.value)
    assert f"{path}, line {line}: " in message
    assert reason in message
    assert not any(key in message for key in (ANN, BOB, "short"))


def test_api_keys_without_a_file_name_the_variable(tmp_path):
    with pytest.raises(ConfigError, match="KEEL_API_KEYS_FILE"):
        ApiKeys(tmp_path / "nothing")


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
def test_key_in_headers_reads_bearer_and_x_api_key(headers, key):
    assert key_in(headers) == key

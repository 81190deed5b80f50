"""API keys: their scopes, read again when the file changes, compared in constant time."""

from __future__ import annotations

import hmac
import logging
import os
import time

import pytest

from keel.errors import ConfigError
from keel.serving.api_keys import EVERYTHING, SETTLED_SECONDS, ApiKeys, Scope, keys_in, read_keys

ANN, BOB, EVE = "a" * 32, "b" * 32, "e" * 32


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "keys"
    file.write_text(f"# clients\nann:{ANN}\n\n  bob   {BOB}\n")
    return file


class Clock:
    """A clock that a test sets forward, and after which a file has settled."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def settle(self):
        self.now += SETTLED_SECONDS


@pytest.fixture
def clock():
    return Clock()


def known(keys, *candidates):
    """Return which of some keys are known."""
    return [keys.scopes_of([key.encode()]) is not None for key in candidates]


def test_api_keys_find_each_key_and_no_other(path):
    keys = ApiKeys(path)
    assert len(keys) == 2
    assert known(keys, ANN, BOB) == [True] * 2
    assert known(keys, EVE, "", ANN[:-1], ANN + "a", "ä" * 16) == [False] * 5
    assert keys.scopes_of([]) is None


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
        keys.scopes_of([key.encode()])
        assert lengths == [(32, 32), (32, 32)]


def test_api_keys_take_any_known_one_of_several_and_join_their_scopes(path):
    path.write_text(f"ann:{ANN} predict\nbob:{BOB} label, read\n")
    keys = ApiKeys(path)
    assert keys.scopes_of([EVE.encode(), ANN.encode()]) == {Scope.PREDICT}
    assert keys.scopes_of([ANN.encode(), BOB.encode()]) == EVERYTHING


def test_new_key_is_valid_at_once_and_a_removed_one_until_the_file_has_settled(path, clock):
    keys = ApiKeys(path, clock=clock)
    path.write_text(f"bob:{BOB}\neve:{EVE}\n")
    assert known(keys, ANN, BOB, EVE) == [True, True, True]
    clock.settle()
    assert known(keys, ANN, BOB, EVE) == [False, True, True]
    replacement = path.with_name("new")
    replacement.write_text(f"ann:{ANN}\n")
    os.utime(replacement, (time.time() - 60,) * 2)
    replacement.replace(path)  # written long ago, so nobody writes it any more
    assert known(keys, ANN, BOB, EVE) == [True, False, False]


def test_keys_stay_valid_while_their_file_is_rewritten_in_place(path, clock):
    keys = ApiKeys(path, clock=clock)
    content = f"# clients\nbob:{BOB} predict\nann:{ANN} read\n"
    clock.settle()
    assert known(keys, ANN, BOB) == [True, True]
    for length in (0, *range(len(content) + 1)):
        path.write_text(content[:length])
        assert known(keys, ANN, BOB, EVE) == [True, True, False], length
        clock.now += SETTLED_SECONDS / 2
    clock.settle()
    assert (keys.scopes_of([BOB.encode()]), keys.scopes_of([ANN.encode()])) == ({Scope.PREDICT}, {Scope.READ})


def test_key_in_a_line_without_its_end_is_not_valid_before_the_file_has_settled(path, clock):
    keys = ApiKeys(path, clock=clock)
    path.write_text(f"eve:{EVE}")  # its scopes may follow
    assert known(keys, ANN, EVE) == [True, False]
    clock.settle()
    assert known(keys, ANN, EVE) == [False, True]


def test_key_of_a_changed_line_keeps_its_scopes_until_the_file_has_settled(path, clock):
    path.write_text(f"ann:{ANN} read\n")
    keys = ApiKeys(path, clock=clock)
    path.write_text(f"ann:{ANN}\n")
    assert keys.scopes_of([ANN.encode()]) == {Scope.READ}
    clock.settle()
    assert keys.scopes_of([ANN.encode()]) == EVERYTHING


def test_file_that_changes_without_another_time_or_size_is_read_once_more(path, clock):
    keys = ApiKeys(path, clock=clock)
    before = path.stat()
    path.write_text(path.read_text().replace(ANN, EVE))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    clock.settle()
    assert known(keys, ANN, EVE) == [False, True]


def test_api_keys_stay_valid_while_the_file_is_invalid(path, caplog, clock):
    keys = ApiKeys(path, clock=clock)
    path.write_text(f"ann:{ANN}\nbob\n")
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert known(keys, BOB, ANN) == [True, True]
            clock.settle()
    assert len(caplog.records) == 1, "the error is logged once, not for every request"
    assert "line 2" in caplog.text
    path.unlink()
    assert known(keys, ANN) == [True]
    clock.settle()
    assert known(keys, ANN) == [True]
    path.write_text(f"eve:{EVE}\n")
    assert known(keys, ANN, EVE) == [True, True]
    clock.settle()
    assert known(keys, ANN, EVE) == [False, True]


def test_api_keys_of_an_empty_file_give_no_access_once_it_has_settled(path, clock):
    keys = ApiKeys(path, clock=clock)
    path.write_text("# no keys\n")
    assert known(keys, ANN, BOB, "") == [True, True, False]
    clock.settle()
    assert known(keys, ANN, BOB, "") == [False] * 3


@pytest.mark.parametrize(
    ("line", "scopes"),
    [
        (f"ann:{ANN}", EVERYTHING),
        (f"ann : {ANN} *", EVERYTHING),
        (f"ann\t{ANN}  predict", {Scope.PREDICT}),
        (f"ann:{ANN} predict,label", {Scope.PREDICT, Scope.LABEL}),
        (f"ann:{ANN[:8]}:{ANN[:8]} read, label", {Scope.READ, Scope.LABEL}),
        (f"ann {ANN[:8]}:{ANN[:8]}", EVERYTHING),
        (f"ann\t:{ANN[:8]}:{ANN[:8]}:", EVERYTHING),
        (f"ann {ANN[:8]}:{ANN[:8]}   predict", {Scope.PREDICT}),
    ],
)
def test_read_keys_reads_name_key_and_scopes(tmp_path, line, scopes):
    path = tmp_path / "keys"
    path.write_text(line)
    [key] = read_keys(path).values()
    assert (key.name, key.scopes) == ("ann", scopes)


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("ann", 1, "not a name of one word and a key"),
        (f"ann:{ANN} {BOB}", 1, "unknown scope; valid: predict, label, read and *"),
        (f"ann:{ANN} predcit", 1, "unknown scope; did you mean 'predict'?"),
        (f"web-shop!:{ANN}", 1, "not a name of one word and a key"),
        (f"ann:{ANN} :{BOB}", 1, "unknown scope"),
        (f"web shop {ANN}", 1, "fewer than 16 characters"),
        (f"ann:{'ä' * 15}", 1, "fewer than 16 characters"),
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


def test_read_keys_skips_a_key_that_clients_cannot_send_and_logs_its_line_but_no_key(tmp_path, caplog):
    path = tmp_path / "keys"
    unsendable = "ä" * 16
    path.write_text(f"ann:{ANN}\nbob:{unsendable}\n{BOB}:{unsendable}\neve:{EVE}\n", encoding="utf-8")
    assert list(read_keys(path)) == ["ann", "eve"]
    one, other = caplog.messages
    assert f"{path}, line 2 is skipped: the key of bob" in one
    assert f"{path}, line 3 is skipped: the key has" in other
    assert not any(key in caplog.text for key in (ANN, BOB, EVE, unsendable))


def test_key_with_colons_after_a_space_is_valid_as_in_earlier_releases(tmp_path):
    path = tmp_path / "keys"
    key = f"{ANN[:8]}:with:colons"
    path.write_text(f"ann {key}\n")
    assert ApiKeys(path).scopes_of([key.encode()]) == EVERYTHING


def test_api_keys_without_a_file_name_the_variable(tmp_path):
    with pytest.raises(ConfigError, match="KEEL_API_KEYS_FILE"):
        ApiKeys(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("headers", "keys"),
    [
        ([(b"authorization", b"Bearer k"), (b"accept", b"*/*")], [b"k"]),
        ([(b"authorization", b"bearer  k ")], [b"k"]),
        ([(b"x-api-key", b"k")], [b"k"]),
        ([(b"x-api-key", b"k"), (b"authorization", b"Bearer other")], [b"k", b"other"]),
        ([(b"authorization", b"Basic azpr")], []),
        ([(b"authorization", b"k")], []),
        ([], []),
    ],
)
def test_keys_in_headers_reads_bearer_and_x_api_key(headers, keys):
    assert keys_in(headers) == keys

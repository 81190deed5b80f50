"""JSON bodies: an object with a key twice is refused, wherever it stands, and others cost next to nothing."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keel.errors import BadRequest
from keel.serving.http.json_bodies import decode, decode_strictly


@pytest.mark.parametrize("read", [decode, decode_strictly])
@pytest.mark.parametrize(
    ("body", "place"),
    [
        (
            '{"dataframe_records": [{"x": 1}, {"x": 1, "x": 2}]}',
            r"dataframe_records\[1\] has the key 'x' twice, with 1 and 2",
        ),
        ('{"dataframe_records": [{"x": 1, "\\u0078": 2}]}', r"dataframe_records\[0\] has the key 'x' twice"),
        ('{"dataframe_records": [{"x" : 1, "x"\n: 1}]}', r"dataframe_records\[0\] has the key 'x' twice"),
        ('{"dataframe_records": [{"x": ": \\":", "y": 1, "y": 2}]}', r"dataframe_records\[0\] has the key 'y' twice"),
        ('{"inputs": {"x": [1], "x": [2]}}', "inputs has the key 'x' twice, with a list and a list"),
        ('{"inputs": {"x": [1]}, "inputs": {"x": [2]}}', "the JSON has the key 'inputs' twice"),
        ('{"inputs": {"x": [1]}, "keel": {"ids": ["a"], "ids": ["b"]}}', "keel has the key 'ids' twice"),
        ('{"inputs": {"x": [{"a": 1, "a": 2}]}}', r"inputs.x\[0\] has the key 'a' twice"),
        ('{"labels": [{"id": "a", "label": 1, "label": 0}]}', r"labels\[0\] has the key 'label' twice, with 1 and 0"),
        ('{"id": "a", "label": 1, "label": 0}', "the JSON has the key 'label' twice"),
    ],
)
def test_decode_of_a_key_that_occurs_twice_is_400_with_its_place(read: Any, body: str, place: str) -> None:
    with pytest.raises(BadRequest, match=f"^{place}") as caught:
        read(body.encode())
    assert caught.value.status == 400


def test_decode_of_a_key_that_occurs_twice_beside_nan_is_400() -> None:
    with pytest.raises(BadRequest, match="'x' twice, with nan and 1"):
        decode(b'{"dataframe_records": [{"x": NaN, "x": 1}]}')


NAMES = st.sampled_from(["x", 'a": 1, "b', ":", "\\", '\\"', "ü"])
VALUES = st.recursive(
    st.none() | st.integers(-5, 5) | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(VALUES, st.booleans())
def test_decode_of_other_json_returns_it(content: Any, spaced: bool) -> None:
    body = json.dumps(content, separators=(" , ", " : ") if spaced else None).encode()
    assert decode(body) == decode_strictly(body) == content


def test_decode_of_many_records_takes_little_longer_than_without_the_check() -> None:
    import msgspec

    names = [f"feature_{i}" for i in range(20)]
    body = json.dumps({"dataframe_records": [dict.fromkeys(names, 1.5)] * 5_000}).encode()

    def seconds(read: Any) -> float:
        def once() -> float:
            began = time.thread_time()
            read(body)
            return time.thread_time() - began

        return min(once() for _ in range(5))

    assert seconds(decode) < 2 * seconds(msgspec.json.decode) + 0.01

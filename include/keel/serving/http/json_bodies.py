"""Decode JSON bodies, and refuse an object that has a key twice, of which decoders keep only the last value."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from keel.errors import BadRequest
from keel.values.scalars import shown

_SPACED = (b" :", b"\n:", b"\t:", b"\r:")


def decode(body: bytes) -> Any:
    """Return the content of a JSON body, as MLflow's decoder also with NaN and infinities.

    Raises BadRequest with status 400, naming the place, for anything else and for an object that has a key twice.
    """
    return _decoded(body, strictly=False)


def decode_strictly(body: bytes) -> Any:
    """Return the content of a JSON body as `decode` does, but refuse NaN and infinities, which are no JSON."""
    return _decoded(body, strictly=True)


def _decoded(body: bytes, *, strictly: bool) -> Any:
    try:
        payload = msgspec.json.decode(body)
    except RecursionError:
        raise BadRequest("the JSON is nested too deeply", status=400) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        if strictly:
            raise BadRequest(f"the body is not JSON: {error}", status=400) from None
        return _decode_like_python(body)
    return payload if _has_every_key(body, payload) else _decode_like_python(body)


def _has_every_key(body: bytes, payload: Any) -> bool:
    """Return whether surely no object of a decoded body had a key twice.

    A colon follows each key. If the decoded objects have as many keys as the body has colons after a quote or a space,
    none was dropped. Objects deeper than a request's own are not counted, and texts may hold such colons: then the
    answer is False, and the slower decoder finds out.
    """
    colons = body.count(b'":')
    if colons != body.count(b":"):  # times have colons, too
        colons += sum(map(body.count, _SPACED))
    return colons == _number_of_keys(payload)


def _number_of_keys(payload: Any) -> int:
    if type(payload) is not dict:
        return 0
    keys = len(payload)
    for value in payload.values():
        if type(value) is dict:
            keys += len(value)
        elif type(value) is list:
            keys += sum([len(each) for each in value if type(each) is dict])
    return keys


class _Repeated(dict[str, Any]):
    """An object in which a key occurs twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        seen: dict[str, Any] = {}
        self.key, self.second = next((key, value) for key, value in pairs if key in seen or seen.update({key: value}))
        self.first = seen[self.key]


def _decode_like_python(body: bytes) -> Any:
    """Decode with Python's own decoder, which sees repeated keys; an error names the place."""
    repeated: list[_Repeated] = []

    def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        plain = dict(pairs)
        if len(plain) == len(pairs):
            return plain
        repeated.append(_Repeated(pairs))
        return repeated[-1]

    try:
        payload = json.loads(body, object_pairs_hook=object_of)
        json.dumps(payload, ensure_ascii=False).encode()  # Python accepts half a surrogate pair, which no store accepts
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno} (character {error.pos})"
        raise BadRequest(f"malformed JSON: {error.msg}: {place}", status=400) from None
    except UnicodeDecodeError as error:
        raise BadRequest(f"the JSON is not UTF-8: byte {error.start}", status=400) from None
    except UnicodeEncodeError:
        raise BadRequest("the JSON contains half a surrogate pair, which is not text", status=400) from None
    except RecursionError:
        raise BadRequest("the JSON is nested too deeply", status=400) from None
    except ValueError as error:  # a number of more digits than Python reads
        raise BadRequest(f"malformed JSON: {error}", status=400) from None
    if repeated:
        raise _twice(payload, repeated[0])
    return payload


def _twice(payload: Any, found: _Repeated) -> BadRequest:
    place = next((path for path, each in _objects(payload) if each is found), "") or "the JSON"
    values = f"{shown(found.first)} and {shown(found.second)}"
    return BadRequest(f"{place} has the key {shown(found.key)} twice, with {values}; send it once", status=400)


def _objects(payload: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each object with its path, such as ``labels[3]``."""
    waiting = [("", payload)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict):
            yield path, value
            waiting += [(f"{path}.{key[:60]}" if path else key[:60], each) for key, each in value.items()]
        elif isinstance(value, list):
            waiting += [(f"{path}[{place}]", each) for place, each in enumerate(value) if isinstance(each, dict | list)]

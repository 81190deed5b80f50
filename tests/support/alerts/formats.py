"""The vendors' formats, as JSON schemas that are written from their documentation."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

FOLDER = Path(__file__).parent / "schemas"


@cache
def _validator(name: str) -> Draft202012Validator:
    schema = json.loads((FOLDER / f"{name}.json").read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)


def validate(value: Any, name: str) -> None:
    """Fail with the places at which a value is not of the format."""
    problems = [f"{list(error.absolute_path)}: {error.message[:300]}" for error in _validator(name).iter_errors(value)]
    assert not problems, problems


def texts(value: Any, key: str = "text") -> list[str]:
    """Return every text below a key, wherever it is."""
    if isinstance(value, list):
        return [text for item in value for text in texts(item, key)]
    if not isinstance(value, dict):
        return []
    mine = [value[key]] if isinstance(value.get(key), str) else []
    return mine + [text for name, item in value.items() if name != key or not mine for text in texts(item, key)]

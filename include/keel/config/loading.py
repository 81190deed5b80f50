"""Read YAML into frozen, validated types, with errors that name the file, the key and the correction."""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from keel.config.renames import refused
from keel.errors import ConfigError, suggestion

_DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?)\s*([smhdw])\s*$")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class Section(BaseModel):
    """Base class of a section of a configuration: frozen, without unknown keys, infinities or NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def parse_duration(value: object) -> object:
    """Return the timedelta of a text such as ``"24h"``, ``"7d"`` or ``"30m"``; `ValueError` for one without a unit.

    >>> parse_duration("36h")
    datetime.timedelta(days=1, seconds=43200)
    """
    if isinstance(value, timedelta):
        return value
    if isinstance(value, str) and (match := _DURATION.match(value)):
        try:
            return timedelta(**{_UNITS[match[2]]: float(match[1])})
        except OverflowError:
            raise ValueError("the duration is too long") from None
    raise ValueError("a duration is a number and one of s, m, h, d, w, such as 30m, 24h or 7d")


def shown_duration(value: timedelta) -> str:
    """Return a duration as text, in the largest exact unit of days, hours, minutes and seconds.

    >>> shown_duration(timedelta(days=14)), shown_duration(timedelta(hours=36))
    ('14d', '36h')
    """
    seconds = value.total_seconds()
    size, unit = next(
        ((size, unit) for size, unit in ((86400, "d"), (3600, "h"), (60, "m")) if seconds % size == 0), (1, "s")
    )
    return f"{seconds / size:g}{unit}"


Duration = Annotated[timedelta, BeforeValidator(parse_duration), Field(ge=timedelta(0))]

Validated = TypeVar("Validated", bound=Section)


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file.

    Raises
    ------
    ConfigError
        The file cannot be read, is not YAML, contains a key twice or one that is a list or a mapping, or a value that
        is out of range; the message names file and place.

    """
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except RecursionError:
        raise ConfigError(f"{path}: not valid YAML: lists or mappings are nested too deeply") from None
    except (yaml.YAMLError, ValueError) as error:  # PyYAML passes on a ValueError for the date 2013-02-30
        raise ConfigError(f"{path}: not valid YAML: {error}") from error


def replace_keys(raw: dict[str, Any], overrides: Mapping[str, Any], *, origin: str) -> None:
    """Replace dotted keys of nested ``raw`` in place; a mapping as value replaces only its own keys.

    Raises
    ------
    ConfigError
        The message names ``origin``, the key and the nearest valid key.

    """
    _replace_keys(raw, overrides, (), origin=origin)


def validated(kind: type[Validated], raw: Mapping[str, Any], *, origin: str) -> Validated:
    """Return ``raw`` as a ``kind``; `ConfigError` with one line for each mistake."""
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        lines = [f"{origin}: {_explained(kind, item)}" for item in error.errors()]
        raise ConfigError("\n".join(dict.fromkeys(lines))) from error


_TEXT_OR_MERGE = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge", "tag:yaml.org,2002:value")


def _spoken(value: object) -> str:
    """Return a value as a message names it.

    >>> _spoken(False), _spoken(None), _spoken(7)
    ('false', 'null', 'the int 7')
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"the {type(value).__name__} {value}"


class _StrictLoader(yaml.SafeLoader):
    """A loader that refuses a key that occurs twice; YAML would silently use the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a text", key_node.start_mark)
            key = key_node.value
            if key_node.tag not in _TEXT_OR_MERGE:
                read = self.construct_object(key_node)
                raise yaml.constructor.ConstructorError(
                    None,
                    None,
                    f'YAML reads the name {key} as {_spoken(read)}: write it in quotes, "{key}"',
                    key_node.start_mark,
                )
            if key in seen and key != "<<":
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} occurs twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def _replace_keys(raw: dict[str, Any], overrides: Mapping[str, Any], parents: tuple[str, ...], *, origin: str) -> None:
    """Replace keys of ``raw``, which is the section at ``parents``."""
    for dotted, value in overrides.items():
        path = str(dotted).split(".")
        if reason := refused(".".join((*parents, *path))):
            raise ConfigError(f"{origin}: {reason}")
        _replace(raw, path, value, parents, origin=f"{origin}: {dotted}")


def _replace(raw: dict[str, Any], path: list[str], value: Any, parents: tuple[str, ...], *, origin: str) -> None:
    *sections, last = path
    for part in sections:
        if part not in raw:
            raise ConfigError(f"{origin}: no such section{suggestion(part, raw)}; valid: {', '.join(raw)}")
        if not isinstance(raw[part], dict):
            reason = "is not configured for this model" if raw[part] is None else "is a value, not a section"
            raise ConfigError(f"{origin}: {part} {reason}")
        raw = raw[part]
    if last not in raw:
        raise ConfigError(f"{origin}: no such key{suggestion(last, raw)}; valid: {', '.join(raw)}")
    if isinstance(value, Mapping) and isinstance(raw[last], dict):
        _replace_keys(raw[last], value, (*parents, *path), origin=origin)
    else:
        raw[last] = value


def _explained(kind: type[Section], item: Any) -> str:
    *parents, last = map(str, item["loc"]) if item["loc"] else ("",)
    key = ".".join((*parents, last))
    if item["type"] == "extra_forbidden":
        known = _fields_at(kind, parents)
        return refused(key) or f"{key}: unknown key{suggestion(last, known)}; valid: {', '.join(known)}"
    if item["type"] == "missing":
        return f"{key}: required key is missing"
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "string_type" and not isinstance(item["input"], dict | list):
        return (
            f"{key}: must be a text (got {_spoken(item['input'])}); in YAML no, yes, on, off, null, numbers and dates "
            "are texts only in quotes"
        )
    given = "" if isinstance(item["input"], dict | BaseModel) else f" (got {item['input']!r})"
    return f"{key}: {message}{given}" if key else message


def _fields_at(kind: type[Section], path: list[str]) -> list[str]:
    """Return the keys of the section at ``path``, which may be optional."""
    for part in path:
        annotation: Any = kind.model_fields[part].annotation
        kind = next(member for member in (annotation, *get_args(annotation)) if hasattr(member, "model_fields"))
    return list(kind.model_fields)

"""The service's paths: what each needs, and which of them a request is for.

A request is for a path only if it names it exactly. Whether a key may use a path is decided by that alone, so that no
other reading of a request, such as the router's, can give access.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from keel.errors import KeelError

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from keel.serving.api_keys import Scope

MODEL = "{model}"
OTHER = "other"


class Access(Enum):
    """What a path needs that is not for keys of one scope only."""

    OPEN = "open"
    """No key, for load balancers and service managers."""
    ANY_KEY = "any key"
    """Any known key, whatever it is for."""


@dataclass(frozen=True)
class Path:
    """What answers a path, with which method, what it needs, and what it means, in words."""

    answer: Callable[[Request], Awaitable[Response]]
    method: str
    needs: Scope | Access
    meaning: str


@dataclass(frozen=True)
class Target:
    """What a request is for: the path (None: there is no such path), the model that it names, and a short name."""

    path: Path | None
    model: str
    endpoint: str


class NotFound(KeelError):
    """A request for a path that does not exist."""

    status = 404


def target_of(path: str, paths: Mapping[str, Path]) -> Target:
    """Return what a request's path is for. A part ``{model}`` of a known path stands for any text without a slash.

    >>> target_of("/models/toy/nothing", {})
    Target(path=None, model='toy', endpoint='other')
    """
    first, *rest = path.split("/")[1:] or [""]
    template, model = path, ""
    if first == "models" and len(rest) == 2 and rest[0]:
        model, template = rest[0], f"/models/{MODEL}/{rest[1]}"
    found = paths.get(template)
    return Target(found, model, template.rpartition("/")[2] or OTHER if found is not None else OTHER)

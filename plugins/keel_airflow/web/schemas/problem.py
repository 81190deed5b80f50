"""Errors, as answers have them: `keel_airflow.web.problems` writes them."""

from __future__ import annotations

from keel_airflow.web.schemas.common import Answer


class FieldError(Answer):
    """What is wrong with one field of a request."""

    field: str
    message: str
    remedy: str


class ProblemDetails(Answer):
    """An error, as RFC 9457 defines problem details."""

    type: str
    title: str
    status: int
    detail: str
    instance: str | None = None
    """The path of the request."""
    errors: list[FieldError]

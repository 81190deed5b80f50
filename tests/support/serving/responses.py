"""What the service answers, for tests."""

from __future__ import annotations

from typing import Any


def error(response: Any) -> tuple[int, str, str]:
    """Return status, kind and message of an error response."""
    body = response.json()
    assert set(body) == {"error", "kind"}
    assert response.headers["content-type"] == "application/json"
    return response.status_code, body["kind"], body["error"]

"""A comparison as a short page that a person reads before agreeing to it, or disputes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def render(report: Mapping[str, Any]) -> str:
    """Return a comparison's record as Markdown."""
    return f"# {str(report['verdict']).capitalize()}\n\n{report.get('sentence') or report['reason']}\n"

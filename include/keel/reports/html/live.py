"""What only the page in Airflow has: links to other pages of Keel, and actions for those who may do them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import quote

from keel.values.texts import CELL, NAME, shown

if TYPE_CHECKING:
    from keel.reports.page import Action, Actions, Local

PATH = "/?=&%#:+,;@~!$'()*-._"
"""What stays as it is in the path of a local link."""


@dataclass(frozen=True)
class Live:
    """Where the pages are, and what their reader may do.

    root: the address of the pages without a slash at its end, such as ``/keel``.
    may: whether the reader may run a DAG.
    """

    root: str
    may: Callable[[str], bool]

    def address(self, path: str) -> str:
        """Return the address of a page, quoted for an attribute."""
        return escape(f"{self.root}/{quote(path.lstrip('/'), safe=PATH)}")

    def link(self, local: Local) -> str:
        """Return a link to another page of Keel's."""
        words = escape(shown(local.text, CELL)).replace("_", "_<wbr>")  # where a long name may break
        return f'<a class="local" href="{self.address(local.path)}">{words}</a>'

    def actions(self, block: Actions) -> str:
        """Return a button for each action that the reader may do, or nothing. A script shows them."""
        buttons = "".join(_button(action) for action in block.actions if not action.dag_id or self.may(action.dag_id))
        return f'<div class="actions" hidden>{buttons}</div>' if buttons else ""


def _button(action: Action) -> str:
    described = {
        "label": shown(action.label, NAME),
        "method": action.method,
        "path": action.path,
        "question": shown(action.question),
        "body": dict(action.body),
        "fields": [asdict(field) for field in action.fields],
        "danger": action.danger,
    }
    kind = "action danger" if action.danger else "action"
    return (
        f'<button type="button" class="{kind}" aria-haspopup="dialog" data-action="{escape(json.dumps(described))}">'
        f"{escape(shown(action.label, NAME))}</button>"
    )

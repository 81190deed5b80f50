"""Find a stored comparison of two versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from keel.errors import UnknownVersion

if TYPE_CHECKING:
    from keel.store import Store


def find_comparison(
    store: Store, model: str, first: int, second: int, report_id: str = ""
) -> tuple[Mapping[str, Any], Sequence[str]]:
    """Return the stored report of a comparison of two versions, in either order, and the ids of the other ones.

    report_id: of the comparison; empty: the newest one.

    Raises
    ------
    UnknownVersion
        There is none; the message lists those that there are, or says how to make one.

    """
    both = {first, second}
    stored = store.reports.list(model, "comparison", limit=None)
    found = [each for each in stored if {each["body"].get("champion"), each["body"].get("challenger")} == both]
    chosen = next((each for each in found if report_id in ("", each["report_id"])), None)
    if chosen is None:
        ids = ", ".join(each["report_id"] for each in found)
        raise UnknownVersion(
            f"{model}: versions {first} and {second} have no comparison {report_id!r}; there are: {ids}"
            if ids
            else f"{model}: no comparison of versions {first} and {second} is stored; to compare a version with "
            f"the one in production: airflow dags trigger {model}.promote --conf '{{\"version\": {second}}}'"
        )
    return chosen, [each["report_id"] for each in found if each is not chosen]

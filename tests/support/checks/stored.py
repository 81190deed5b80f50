"""Put the checks of `cases` into a store, as the steps of a check do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keel.monitoring import storage
from tests.support.checks.cases import CASES

if TYPE_CHECKING:
    from datetime import timedelta

    from keel.reports.check import CheckData
    from keel.workspace import Workspace


def store_case(ws: Workspace, name: str, *, model: str = "toy", later: timedelta | None = None) -> CheckData:
    """Store the reports, the decision and the outcome of a case, of a window that is ``later`` than its own."""
    check = CASES[name]()
    window = check.window
    if later is not None:
        window = type(window)(window.start + later, window.end + later)
    for kind in ("quality", "drift", "performance", "labels"):
        report = getattr(check, kind)
        if report is not None:
            storage.store_report(ws, kind, model, check.version, window, report)
    if check.decision is not None:
        identity = storage.report_id("decision", model, check.version, window)
        changes = {"decision_id": identity, "window": window, "model": model}
        decision = storage.store_decision(ws, check.decision.model_copy(update=changes), run_id="run-1")
        if check.outcome is not None:
            ws.store.decisions.set_outcome(decision.decision_id, check.outcome.to_dict())
    return check

"""Which earlier retrainings keep a check from another: those within the cooldown, and one for the same change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keel.ledger import entries as ledger
from keel.monitoring import storage
from keel.monitoring.records import Action

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from keel.monitoring.alarms import Judgement
    from keel.monitoring.records import CountedWindow
    from keel.workspace import Workspace


def last_retrain(ws: Workspace, model: str, *, until: datetime, other_than: str) -> datetime | None:
    """Return the latest end, at most ``until``, of a window that led to a retraining; None if there was none.

    other_than: the id of a decision to leave out.
    """
    return ws.store.decisions.last_window_end(
        model, Action.RETRAIN, until=until, without={other_than, *_not_carried_out(ws, model)}
    )


def retrained_until(ws: Workspace, counted: CountedWindow, judgements: Sequence[Judgement]) -> datetime | None:
    """Return the end of the window of another decision to retrain about the same change, of the same moment.

    A check by the schedule and one by an alarm can come to the same conclusion about the same version one after the
    other, in either order, and however short the cooldown is. None where no alarm is behind either.
    """
    window, model, version = counted.window, counted.model, counted.version
    began = [each.alarm.since for each in judgements if each.alarm.version == version and each.alarm.kind != "fault"]
    own = storage.report_id("decision", model, version, window)
    within = {"after": window.end - storage.SAME_MOMENT, "until": window.end + storage.SAME_MOMENT}
    earlier = ws.store.decisions.get(own)  # what was decided after an earlier try does not change that
    not_carried_out = _not_carried_out(ws, model)
    for other in ws.store.decisions.ending(model, version, Action.RETRAIN, **within, other_than=own):
        if other["decision_id"] in not_carried_out:
            continue
        if earlier is not None and other["created_at"] > earlier["created_at"]:
            continue
        end: datetime = other["window_end"]
        by_alarm = bool(other["body"].get("alarms"))
        if (began and min(began) < end) or (by_alarm and other["window_start"] < window.end <= end):
            return end
    return None


def _not_carried_out(ws: Workspace, model: str) -> set[str]:
    """Return the ids of the decisions to retrain that trained nothing: without an outcome, and without a version.

    The outcome alone does not tell. It is recorded last, after people were notified, so that a mail server that is
    down keeps it from a retraining that succeeded.
    """
    open_ended = ws.store.decisions.without_outcome(model, Action.RETRAIN)
    return open_ended - _registered(ws, model) if open_ended else open_ended


def _registered(ws: Workspace, model: str) -> set[str]:
    """Return the ids of the decisions whose version is in the ledger."""
    rows = ledger.entries(ws.store, model, ledger.Action.REGISTER)
    return {row.body.get("evidence", {}).get("tags", {}).get("keel.decision_id", "") for row in rows}

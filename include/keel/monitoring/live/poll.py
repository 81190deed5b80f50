"""The background service: bring the monitors of all models up to date with the store, and say for which to ring.

While nothing arrives, a pass is one query for all models. A model that fails is tried again after growing waits, and
holds up no other. After a few failures people are told: by an alarm of kind ``fault`` and a ring. When the store itself
does not answer there is no place for an alarm: the bell rings all the same, the check that it starts fails, and the
DAG's callback tells people.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from keel import deployments
from keel.config import ModelConfig, read_models
from keel.errors import LONGEST_PROBLEM, ConfigError, KeelError, StoreUnavailable
from keel.monitoring.live.backoff import LONGEST_WAIT, Backoff
from keel.monitoring.live.catch_up import catch_up
from keel.monitoring.live.rings import ring_reason
from keel.monitoring.live.starting import fault_alarm

if TYPE_CHECKING:
    from keel.workspace import Workspace

log = logging.getLogger(__name__)

POLL_SECONDS = 5.0
"""Time from the start of one pass to that of the next, where ``KEEL_LIVE_POLL_SECONDS`` says no other."""
SHORTEST_POLL, LONGEST_POLL = 0.1, 3600.0
MAX_BLOCKS = 100
"""Blocks of one model that are evaluated before it is the next model's turn."""
PASS_SECONDS = 5.0
"""Time after which a pass ends with the model at hand, so that what it found is told while others are caught up."""
REFRESH_SECONDS = 60.0
"""Time after which the configuration is read again, and every model is looked at though nothing has arrived: another
process may have opened an alarm, paused a model or deployed a version."""
REOPEN_SECONDS = 900.0
"""Time after which the store is opened anew: Airflow gives no connection while its secrets backend is down, and the
embedded store, in which nothing arrives, would then be polled for ever."""
MODEL_FAILURES, STORE_FAILURES = 3, 6
"""Failures in a row at which people are told: of one model after half a minute; of the store, which fails for every
model at once, after five, as a restart of its server is none of their business."""


def poll_seconds(environment: Mapping[str, str] | None = None) -> float:
    """Return the time between two passes, in seconds: ``KEEL_LIVE_POLL_SECONDS``, else `POLL_SECONDS`.

    Raises
    ------
    ConfigError
        For a value that is no number from `SHORTEST_POLL` to `LONGEST_POLL`.

    """
    given = (os.environ if environment is None else environment).get("KEEL_LIVE_POLL_SECONDS")
    if not given:
        return POLL_SECONDS
    try:
        seconds = float(given)
    except ValueError:
        seconds = -1.0
    if not SHORTEST_POLL <= seconds <= LONGEST_POLL:
        raise ConfigError(
            f"environment KEEL_LIVE_POLL_SECONDS: {given!r} is no number of seconds from {SHORTEST_POLL:g} to "
            f"{LONGEST_POLL:g}; correct it, or remove it for {POLL_SECONDS:g}"
        )
    return seconds


@dataclass(frozen=True)
class Ring:
    """A ring of the bell for one model. alarm_ids is empty when the store does not answer."""

    model: str
    reasons: tuple[str, ...]
    alarm_ids: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the ring as plain JSON values."""
        return {"model": self.model, "reasons": list(self.reasons), "alarm_ids": list(self.alarm_ids)}


@dataclass(frozen=True)
class Pass:
    """What one pass over the models came to. behind: whether more is waiting, so that the next begins at once."""

    rings: tuple[Ring, ...] = ()
    behind: bool = False


@dataclass
class _Watched:
    """What this process remembers of a model. Nothing is lost with it: the rest is in the store."""

    backoff: Backoff
    seen: int | None = None
    """The model's last arrival when its monitors were last up to date."""
    behind: bool = False
    refresh_at: float = 0.0
    alarms: Sequence[Mapping[str, Any]] = ()
    """Its open alarms, as they were last read."""
    ringing: bool = False
    """Whether a ring is on its way to Airflow."""
    config: ModelConfig | None = None


class Poll:
    """Polls the store for several models. One thread calls `run` and `close`; any may call the others.

    Parameters
    ----------
    open_workspace
        opens the installation; called again after a failure of the store, and now and then
    clock
        seconds of a clock that never goes back, for all waits

    """

    def __init__(self, open_workspace: Callable[[], Workspace], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._open_workspace = open_workspace
        self._clock = clock
        self._workspace: Workspace | None = None
        self._reopen_at = 0.0
        self._configured: tuple[dict[str, ModelConfig], list[ConfigError]] = {}, []
        self._reread_at = 0.0
        self._watched: dict[str, _Watched] = {}
        self._outage = Backoff(told_after=STORE_FAILURES, clock=clock)
        self._told: deque[tuple[Ring, bool]] = deque()
        self._turn = 0
        self._stopped = False

    def run(self, models: Collection[str], *, now: datetime) -> Pass:
        """Bring the monitors of these models up to date as far as a pass goes, and return what to ring for.

        Raises nothing: what goes wrong is logged, tried again later, and told to people after a few times.
        """
        if self._outage.waiting:
            return Pass()
        for model in models:
            self._watched.setdefault(model, _Watched(Backoff(told_after=MODEL_FAILURES, clock=self._clock)))
        try:
            found = self._pass(sorted(models), now)
        except Exception as error:
            return self._store_failed(sorted(models), error)
        if self._outage.succeeded():
            log.info("the store answers again")
        return found

    def told(self, ring: Ring, *, heard: bool) -> None:
        """Note whether a ring is in Airflow's database. The next pass stores it with the alarms, or rings again."""
        self._told.append((ring, heard))

    def stop(self) -> None:
        """Let a pass that is running end with the model at hand."""
        self._stopped = True

    def close(self) -> None:
        """Close the store. A later pass opens it anew."""
        if self._workspace is not None:
            workspace, self._workspace = self._workspace, None
            try:
                workspace.store.close()
            except Exception:
                log.exception("the store could not be closed")

    def _pass(self, models: Sequence[str], now: datetime) -> Pass:
        started = self._clock()
        workspace = self._opened(started)
        self._note_rings(workspace, now)
        arrivals = workspace.store.live.arrivals()
        rings, behind = [], False
        self._turn += 1
        turn = self._turn % max(len(models), 1)
        for model in (*models[turn:], *models[:turn]):
            if self._stopped or self._clock() - started > PASS_SECONDS:
                behind = True
                break
            self._look_at(workspace, model, arrivals.get(model, 0), now)
            rings += self._rings(workspace, model, now)
            behind |= self._watched[model].behind
        return Pass(tuple(rings), behind)

    def _opened(self, started: float) -> Workspace:
        if started >= self._reread_at:
            self._configured = read_models()
            self._reread_at = started + REFRESH_SECONDS
        if started >= self._reopen_at:
            self.close()
        if self._workspace is None:
            self._workspace = self._open_workspace()
            self._reopen_at = started + REOPEN_SECONDS
            for watched in self._watched.values():
                watched.refresh_at = 0.0
        return self._workspace

    def _look_at(self, workspace: Workspace, model: str, arrived: int, now: datetime) -> None:
        """Bring one model's monitors up to date, unless nothing has changed or it is too early after a failure."""
        watched = self._watched[model]
        refresh = self._clock() >= watched.refresh_at
        if watched.backoff.waiting or not (refresh or watched.behind or watched.seen != arrived):
            return
        try:
            watched.config = self._config(model)
            if watched.config.live is not None:
                progress = catch_up(workspace, watched.config, now=now, max_blocks=MAX_BLOCKS)
                watched.behind = progress.behind
            watched.seen = arrived
            watched.alarms = workspace.store.live.open_alarms(model)
            if watched.backoff.succeeded():
                log.info("the live monitors of %s work again", model)
        except StoreUnavailable:
            raise
        except Exception as error:
            self._model_failed(workspace, model, error, now)
        watched.refresh_at = self._clock() + REFRESH_SECONDS

    def _config(self, model: str) -> ModelConfig:
        valid, broken = self._configured
        if model not in valid:
            raise ConfigError("\n".join(map(str, broken)) or f"no file model.yaml configures {model!r} any more")
        return valid[model]

    def _rings(self, workspace: Workspace, model: str, now: datetime) -> list[Ring]:
        """Return the ring that the open alarms call for, if none is on its way."""
        watched = self._watched[model]
        if watched.ringing or not _reasons(watched.alarms, watched.config, now):
            return []
        watched.alarms = workspace.store.live.open_alarms(model)  # a check may have judged them
        if not (reasons := _reasons(watched.alarms, watched.config, now)):
            return []
        watched.ringing = True
        log.info("ringing for %s: %s", model, reasons)
        return [Ring(model, tuple(sorted(set(reasons.values()))), tuple(reasons))]

    def _note_rings(self, workspace: Workspace, now: datetime) -> None:
        while self._told:
            ring, heard = self._told[0]
            if ring.alarm_ids and heard:
                workspace.store.live.rang(ring.alarm_ids, now)
            self._told.popleft()
            if watched := self._watched.get(ring.model):
                watched.ringing = False
                watched.alarms = workspace.store.live.open_alarms(ring.model)

    def _model_failed(self, workspace: Workspace, model: str, error: Exception, now: datetime) -> None:
        watched = self._watched[model]
        told = watched.backoff.failed()
        watched.seen, watched.behind = None, False  # nothing is waited for but the next try
        log.error(
            "the live monitors of %s failed, %s in a row; next try in %.0f s: %s",
            model,
            watched.backoff.failures,
            watched.backoff.wait,
            error,
            exc_info=None if isinstance(error, KeelError) else error,
        )
        if told:
            version = deployments.read(workspace.store, model).production or 0
            alarm = fault_alarm(model, version, "monitoring", _fault(model, watched.backoff, error), now)
            workspace.store.live.add_fault(alarm.to_dict())
            watched.alarms = workspace.store.live.open_alarms(model)

    def _store_failed(self, models: Sequence[str], error: Exception) -> Pass:
        self.close()
        told = self._outage.failed()
        log.error(
            "the live monitors cannot use the store, %s failures in a row; next try in %.0f s: %s",
            self._outage.failures,
            self._outage.wait,
            error,
            exc_info=None if isinstance(error, KeelError) else error,
        )
        return Pass(tuple(Ring(model, ("the store does not answer",)) for model in models) if told else ())


def _reasons(alarms: Sequence[Mapping[str, Any]], config: ModelConfig | None, now: datetime) -> dict[str, str]:
    """Return why to ring, by the id of the alarm."""
    found = {}
    for alarm in alarms:
        harm = alarm["kind"] in ("harm", "audit")
        min_rows = 0 if config is None else config.performance.min_rows if harm else config.drift.min_rows
        if reason := ring_reason(alarm, now=now, min_rows=min_rows):
            found[alarm["alarm_id"]] = reason
    return found


def _fault(model: str, backoff: Backoff, error: Exception) -> str:
    """Return the sentence that tells people that a model is not monitored."""
    named = str(error) if isinstance(error, KeelError) else f"{type(error).__name__}: see the triggerer's log"
    first, *more = named.split("\n")
    what = first[:LONGEST_PROBLEM] + (f" (and {len(more)} more)" if more else "")
    return (
        f"New predictions and labels of {model} are not monitored: the live monitors have failed {backoff.failures} "
        f"times in a row. {what}. Nothing is lost; they try again by themselves, at least every "
        f"{LONGEST_WAIT / 60:.0f} minutes, and catch up."
    )

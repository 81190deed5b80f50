"""The background service: bring the monitors of all models up to date with the store, and say for which to ring.

While nothing arrives, a pass is one query for all models. Of a backlog a pass reads a page of each model, so that none
waits for another's. A model that fails is tried again after growing waits, and holds up no other. After a few failures
people are told: by an alarm of kind ``fault`` and a ring. When the store itself does not answer there is no place for
an alarm: the bell rings all the same, the check that it starts fails, and the DAG's callback tells people. A model
whose configuration is invalid has no DAG, and no alarm: Airflow shows the file as an import error.
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
from keel.errors import ConfigError, KeelError, StoreUnavailable
from keel.monitoring.live.backoff import Backoff, failure_sentence, recovery_sentence
from keel.monitoring.live.catch_up import catch_up
from keel.monitoring.live.groups import PAGE_ROWS
from keel.monitoring.live.rings import Ring, ring_reasons
from keel.monitoring.live.starting import fault_alarm

if TYPE_CHECKING:
    from keel.workspace import Workspace

log = logging.getLogger(__name__)

POLL_SECONDS = 5.0
"""Time from the start of one pass to that of the next, where ``KEEL_LIVE_POLL_SECONDS`` says no other."""
SHORTEST_POLL, LONGEST_POLL = 0.1, 3600.0
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
FAILING = "monitoring"
"""What the alarm of a model is about whose monitors fail."""


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
        self._last = ""
        self._stopped = False

    def run(self, models: Collection[str], *, now: datetime) -> Pass:
        """Bring the monitors of these models up to date as far as a pass goes, and return what to ring for.

        Raises nothing: what goes wrong is logged, tried again later, and told to people after a few times.
        """
        if self._outage.waiting:
            return Pass()
        for model in models:
            self._watched.setdefault(model, _Watched(Backoff(told_after=MODEL_FAILURES, clock=self._clock)))
        rings: list[Ring] = []
        try:
            behind = self._pass(sorted(models), now, rings)
        except Exception as error:
            return Pass((*rings, *self._store_failed(sorted(models), error)))
        if self._outage.succeeded():
            log.info("the store answers again")
        return Pass(tuple(rings), behind)

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

    def _pass(self, models: Sequence[str], now: datetime, rings: list[Ring]) -> bool:
        """Look at each model, add to the rings, and return whether more is waiting."""
        started = self._clock()
        workspace = self._opened(started)
        self._note_rings(workspace, now)
        arrivals = workspace.store.live.arrivals()
        behind = False
        for model in self._in_turn(models):
            if self._stopped or self._clock() - started > PASS_SECONDS:
                return True
            self._last = model
            self._look_at(workspace, model, arrivals.get(model, 0), now)
            rings += self._rings(workspace, model, now)
            behind |= self._watched[model].behind
        return behind

    def _in_turn(self, models: Sequence[str]) -> list[str]:
        """Return sorted models from that behind which the last pass ended: many backlogs hold up no model for long."""
        return sorted(models, key=lambda model: (model <= self._last, model))

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
            config = self._config(model)
            watched.behind = config.live is not None and _read_a_page(workspace, config, now)
            watched.seen = arrived
            watched.alarms = workspace.store.live.open_alarms(model) if config.live is not None else ()
            self._note_recovery(workspace, model, now)
        except Exception as error:
            self._model_failed(workspace, model, error, now)
        watched.refresh_at = self._clock() + REFRESH_SECONDS

    def _config(self, model: str) -> ModelConfig:
        valid, broken = self._configured
        if model not in valid:
            raise ConfigError("\n".join(map(str, broken)) or f"no file model.yaml configures {model!r} any more")
        return valid[model]

    def _rings(self, workspace: Workspace, model: str, now: datetime) -> list[Ring]:
        """Return the ring that the open alarms call for, if none is on its way and there is a check to judge them."""
        watched, config = self._watched[model], self._configured[0].get(model)
        if config is None or config.live is None or watched.ringing or not ring_reasons(watched.alarms, config, now):
            return []
        watched.alarms = workspace.store.live.open_alarms(model)  # a check may have judged them
        if not (reasons := ring_reasons(watched.alarms, config, now)):
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
        if isinstance(error, StoreUnavailable):
            _require_store(workspace, model)
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
        if told and model in self._configured[0]:
            self._tell(workspace, model, failure_sentence(model, watched.backoff.failures, error), now)

    def _tell(self, workspace: Workspace, model: str, sentence: str, now: datetime) -> None:
        """Open an alarm about the monitoring, unless no check could judge it, as there is no version to check."""
        version = deployments.read(workspace.store, model).production
        if version is None:
            return
        alarm, live = fault_alarm(model, version, FAILING, sentence, now), workspace.store.live
        if not live.add_fault(alarm.to_dict()):
            live.reword_fault(model, FAILING, sentence)
        self._watched[model].alarms = live.open_alarms(model)

    def _note_recovery(self, workspace: Workspace, model: str, now: datetime) -> None:
        """Forget failures, and let an alarm about them say that they are over, until a check tells people of it."""
        watched = self._watched[model]
        if watched.backoff.succeeded():
            log.info("the live monitors of %s work again", model)
        for alarm in watched.alarms:
            if alarm["kind"] == "fault" and (sentence := recovery_sentence(alarm["sentence"], now)):
                workspace.store.live.reword_fault(model, alarm["subject"], sentence)

    def _store_failed(self, models: Sequence[str], error: Exception) -> list[Ring]:
        self.close()
        told = self._outage.failed()
        log.error(
            "the live monitors cannot use the store, %s failures in a row; next try in %.0f s: %s",
            self._outage.failures,
            self._outage.wait,
            error,
            exc_info=None if isinstance(error, KeelError) else error,
        )
        return [Ring(model, ("the store does not answer",)) for model in models] if told else []


def _read_a_page(workspace: Workspace, config: ModelConfig, now: datetime) -> bool:
    """Let a model's monitors read up to a page of rows, and return whether more is waiting."""
    assert config.live is not None, "the caller asks only where the model is monitored"
    blocks = max(PAGE_ROWS // (config.live.block_size * config.live.thinning), 1)
    return catch_up(workspace, config, now=now, max_blocks=blocks, max_steps=1).behind


def _require_store(workspace: Workspace, model: str) -> None:
    """Raise StoreUnavailable unless the store has, and takes, what every model needs: it fails for one model only."""
    workspace.store.require_writable()
    deployments.read(workspace.store, model)
    workspace.store.live.open_alarms(model)

"""One model's versions in memory, and what follows from them for those who ask."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from keel.serving.models.desired_state import DesiredState
from keel.serving.models.input_schema import Inputs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from keel.config import ModelConfig
    from keel.evaluation.experiment.plan import Plan
    from keel.serving.models.loaded_version import ServedVersion

log = logging.getLogger(__name__)

FIRST_RETRY, LONGEST_RETRY = 2.0, 60.0
"""Seconds between tries to load a version, doubled each time: what failed may be put right at any time."""


@dataclass(frozen=True)
class Served:
    """What a model's requests are answered with, as of one moment; a request keeps the one it began with.

    production: the version that answers. challenger, plan: of the experiment that runs, both or neither.
    """

    model: str
    inputs: Inputs
    production: ServedVersion
    challenger: ServedVersion | None = None
    plan: Plan | None = None

    @property
    def loaded(self) -> tuple[ServedVersion, ...]:
        """The versions that may be asked."""
        return (self.production,) if self.challenger is None else (self.production, self.challenger)


@dataclass(frozen=True)
class Failure:
    """A version that could not be loaded. retry_at: on the clock that `Shelf.fail` was given."""

    error: str
    tries: int
    retry_at: float


class ModelSlots:
    """The versions of one model. Whoever changes it holds the lock of `keel.serving.models.loader.ModelLoader`.

    served: what requests get; read without a lock, as it is only ever replaced.
    """

    def __init__(self, config: ModelConfig) -> None:
        self.config = config
        self.wanted = DesiredState()
        self.served: Served | None = None
        self.since: datetime | None = None
        self.failures: dict[int, Failure] = {}
        self._versions: dict[int, ServedVersion] = {}

    def want(self, wanted: DesiredState) -> None:
        """Serve what the store says, as far as it is in memory."""
        if wanted.problem and wanted.problem != self.wanted.problem:
            log.warning("%s: %s", self.config.model, wanted.problem)
        if wanted != self.wanted:
            self.wanted = wanted
            self._arrange()

    def put(self, version: ServedVersion) -> None:
        """Take a version that was loaded, and serve it if it is wanted still."""
        self._versions[version.number] = version
        self.failures.pop(version.number, None)
        self._arrange()

    def fail(self, number: int, error: str, now: float) -> bool:
        """Note that a version cannot be loaded; return whether this is news."""
        known = self.failures.get(number)
        tries = known.tries + 1 if known else 1
        wait = min(LONGEST_RETRY, FIRST_RETRY * 2 ** (tries - 1))
        self.failures[number] = Failure(error, tries, now + wait)
        return known is None or known.error != error

    def missing(self, now: float) -> Iterator[tuple[int, int]]:
        """Yield the versions to load, each with its rank, the lowest first; not those that wait for their next try."""
        for rank, number in enumerate(self.wanted.versions):
            if number not in self._versions and (number not in self.failures or self.failures[number].retry_at <= now):
                yield rank, number

    def state(self) -> dict[str, Any]:
        """Return what is loaded, wanted and wrong, as JSON-able values."""
        served, wanted = self.served, self.wanted
        return {
            "production": served.production.number if served else None,
            "since": self.since.isoformat() if self.since else None,
            "wanted": wanted.production, "generation": wanted.generation,
            "in_memory": sorted(self._versions),
            "ways": {str(number): version.way for number, version in sorted(self._versions.items())},
            "experiment": served.plan.experiment_id if served and served.plan else None,
            "challenger": served.challenger.number if served and served.challenger else None,
            "problem": wanted.problem,
            "errors": {str(number): failure.error for number, failure in sorted(self.failures.items())},
        }  # fmt: skip

    def _arrange(self) -> None:
        before, wanted = self.served, self.wanted
        production = self._versions.get(wanted.production) if wanted.production is not None else None
        if production is None and wanted.production is not None and before is not None:
            production = before.production  # until the new one is there
        if production is None:
            self.served = None
        else:
            self._serve(production)
        keep = {*wanted.versions, *([production.number] if production else [])}
        self._versions = {number: version for number, version in self._versions.items() if number in keep}
        self.failures = {number: failure for number, failure in self.failures.items() if number in keep}

    def _serve(self, production: ServedVersion) -> None:
        plan = self.wanted.plan
        challenger = self._versions.get(plan.challenger) if plan else None
        if plan is None or challenger is None or plan.champion != production.number:
            plan = challenger = None
        # no request is refused for what only a version on trial needs
        inputs = Inputs.of(self.config, production.needed)
        before = self.served
        served = Served(self.config.model, inputs, production, challenger, plan)
        if before is None or before.production is not production:
            self.since = datetime.now(UTC)
            log.info("%s: version %d answers now", self.config.model, production.number)
        if before is not None and replace(before, inputs=inputs) == served:
            return
        self.served = served

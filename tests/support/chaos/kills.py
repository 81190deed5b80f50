"""Killing a process where it hurts: children that die at a chosen step, and what must hold when they are gone.

A *step* is any function without arguments that opens what it needs by itself, such as a promotion. It runs in a fork of
this process, which has imported everything and holds nothing open. There is no hook in the product: the child wraps
what the product calls (statements and commits of the store, the lock, MLflow's client) and counts these boundaries.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import random
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import mlflow
import sqlalchemy as sa
from sqlalchemy.engine.default import DefaultDialect

from keel import deployments
from keel.deployments.history import Status, history
from keel.ledger import entries as ledger
from keel.registry.registry import Registry
from keel.store import Store
from keel.store.database import sqlite
from tests.support.store_fixtures import NOON

FULL_SIZE = bool(os.environ.get("KEEL_FULL_SIZE"))
TRIALS = int(os.environ.get("KEEL_CHAOS_TRIALS", "100" if FULL_SIZE else "6"))
"""Kills at random times, and rounds of a race, per database."""
MLFLOW_DRIVER = "pysqlite"
TIMEOUT = 60

Step = Callable[[], object]


@dataclass(frozen=True)
class World:
    """A store and a registry that each process opens for itself."""

    store_url: str
    tracking_uri: str
    model: str = "toy"

    @contextmanager
    def open(self) -> Iterator[tuple[Store, Registry]]:
        with Store.open(self.store_url, timeout=TIMEOUT) as store:
            yield store, Registry(self.tracking_uri)

    def register(self, count: int) -> None:
        """Register versions that cost nothing: of a run, but without a model."""
        registry = Registry(self.tracking_uri)
        client = registry.client
        client.create_registered_model(self.model)
        run = client.create_run(client.create_experiment(f"keel/{self.model}"))
        with self.open() as (store, _):
            for _ in range(count):
                created = client.create_model_version(self.model, run.info.artifact_uri, run.info.run_id)
                deployments.append(
                    store, self.model, actor="tests", action=ledger.Action.REGISTER, body={}, now=NOON,
                    statuses={int(created.version): (Status.CANDIDATE, "registered")},
                )  # fmt: skip
            deployments.sync_aliases(store, registry, self.model)


@dataclass(frozen=True)
class Ended:
    """How a child ended: by itself with a result, or killed at a boundary."""

    killed: bool
    boundaries: tuple[str, ...]
    result: Any = None


def run(step: Step, *, kill_at: int | None = None) -> Ended:
    """Run a step in a child, which kills itself at boundary number ``kill_at``, counted from 0."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _live(step, writer, kill_at)
    os.close(writer)
    with os.fdopen(reader, "rb") as told:
        said = told.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return Ended(True, pickle.loads(said))
    assert os.waitstatus_to_exitcode(status) == 0, said.decode()
    return Ended(False, *pickle.loads(said))


def run_until_killed(step: Step, seconds: float) -> None:
    """Run a step again and again in a child, and kill it that long after it has begun."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            os.write(writer, b".")
            while True:
                step()
        except BaseException:
            os.write(writer, traceback.format_exc().encode())
        os._exit(1)
    os.close(writer)
    with os.fdopen(reader, "rb") as told:
        assert told.read(1) == b"."
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), told.read().decode()


def numbers_of(boundaries: tuple[str, ...], store_url: str = "") -> list[int]:
    """Return the boundaries to kill at: at full size all, else every other, as after the one is before the next.

    store_url: of a test that runs on both databases. Unless at full size, each of them takes every other of those, and
    both take the last.
    """
    if FULL_SIZE:
        return list(range(len(boundaries)))
    every_other = range(1, len(boundaries), 2)
    if not store_url:
        return list(every_other)
    return sorted({*every_other[0 if store_url.startswith("sqlite") else 1 :: 2], every_other[-1]})


def random_delays(count: int, longest: float, seed: int = 0) -> list[float]:
    chance = random.Random(seed)
    return [chance.uniform(0, longest) for _ in range(count)]


def _live(step: Step, writer: int, kill_at: int | None) -> NoReturn:
    passed: list[str] = []

    def boundary(name: str) -> None:
        passed.append(name)
        if len(passed) - 1 == kill_at:
            os.write(writer, pickle.dumps(tuple(passed)))
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        watch(boundary)
        result = step()
        os.write(writer, pickle.dumps((tuple(passed), result)))
        os._exit(0)
    except BaseException:
        os.write(writer, traceback.format_exc().encode())
    os._exit(1)


def watch(boundary: Callable[[str], None]) -> None:
    """Call ``boundary`` before and after each statement and commit of the store, each lock, each call of MLflow's.

    There is no way back: only for a process that ends soon.
    """
    sa.event.listen(sa.Engine, "before_cursor_execute", _statement(boundary, "before"))
    sa.event.listen(sa.Engine, "after_cursor_execute", _statement(boundary, "after"))
    commit = DefaultDialect.do_commit

    def committed(dialect: DefaultDialect, connection: Any) -> None:
        watched = dialect.driver != MLFLOW_DRIVER
        if watched:
            boundary("before COMMIT")
        commit(dialect, connection)
        if watched:
            boundary("after COMMIT")

    DefaultDialect.do_commit = committed  # type: ignore[method-assign]
    around = Around(boundary)
    fcntl.flock = around("flock", fcntl.flock)
    sqlite.Connection.begin = around("BEGIN", sqlite.Connection.begin)  # type: ignore[method-assign]
    for name, call in list(vars(mlflow.MlflowClient).items()):
        if callable(call) and not name.startswith("_"):
            setattr(mlflow.MlflowClient, name, around(name, call))


def _statement(boundary: Callable[[str], None], when: str) -> Callable[..., None]:
    def told(connection: sa.Connection, _: object, sql: str, *__: object) -> None:
        if connection.dialect.driver != MLFLOW_DRIVER:
            boundary(f"{when} {' '.join(sql.split())[:60]}")

    return told


class Around:
    """Wraps calls with boundaries; what a call calls in turn, as MLflow's client does, has none of its own."""

    def __init__(self, boundary: Callable[[str], None]) -> None:
        self._boundary = boundary
        self._within = False

    def __call__(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **named: Any) -> Any:
            if self._within:
                return call(*args, **named)
            self._boundary(f"before {name}")
            self._within = True
            try:
                result = call(*args, **named)
            finally:
                self._within = False
            self._boundary(f"after {name}")
            return result

        return called


def require_consistent(world: World) -> deployments.Reconciled:
    """Look once as a reconciler does, require that all agree afterwards, and return what it found."""
    with world.open() as (store, registry):
        require_whole_ledger(store, world.model)
        looked = deployments.reconcile(store, registry, world.model, actor="tests", now=NOON, adopt=True)
        require_agreement(store, registry, world.model)
        again = deployments.reconcile(store, registry, world.model, actor="tests", now=NOON, adopt=True)
    assert not again.completed
    assert not again.out_of_band
    return looked


def require_whole_ledger(store: Store, model: str) -> None:
    """The chain holds, each generation has one row, and the deployments row is what they add up to."""
    assert ledger.verify(store).broken_at is None
    rows = list(ledger.entries(store, model))
    changes = [(row.generation_from, row.generation_to) for row in rows if "to" in row.body]
    assert changes == [(n, n + 1) for n in range(len(changes))]
    deployment = deployments.read(store, model)
    assert deployment == history(store, model).deployment
    assert deployment.production is not None


def require_agreement(store: Store, registry: Registry, model: str) -> None:
    """Aliases and tags in MLflow say what the deployments row and the ledger say; one version is in production."""
    deployment, state = deployments.read(store, model), history(store, model)
    assert deployment == state.deployment
    wanted = {alias: version for alias, version in deployment.aliases.items() if version is not None}
    assert registry.aliases(model) == wanted
    tags = {version.version: version.tags["keel.status"] for version in registry.versions(model)}
    assert tags == {version: str(standing.status) for version, standing in state.version_statuses.items()}
    assert [version for version, status in tags.items() if status == "production"] == [deployment.production]
    assert not deployments.sync_pending(store, model)

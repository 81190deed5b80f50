"""This Keel on an installation that Keel 0.1.0 made: see tests/data/0.1.0."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tarfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
import yaml
from typer.testing import CliRunner

from keel import deployments, loop, rollout
from keel.cli import main as command_line
from keel.deployments.consistency import find_disagreements
from keel.deployments.history import history
from keel.ledger import entries as ledger
from keel.monitoring import performance_history
from keel.monitoring.records import ComparisonRecord, DecisionRecord, Outcome, PromotionRequest
from keel.reports import check
from keel.reports.comparison import page
from keel.reports.html import render as render_html
from keel.rollout.holdout_reuse import prior_comparisons
from keel.serving.metrics import Metrics
from keel.serving.prediction_log.shipper import SpoolShipper
from keel.serving.prediction_log.spool import Durability, Spool
from keel.store import Store
from keel.store.database import migrations
from keel.store.database.connections import Database, parse_url
from keel.store.undelivered import undelivered_records
from keel.window import Window
from keel.workspace import Workspace
from tests.support.paths import PROJECT
from tests.support.reports.goldens import require_golden
from tests.support.toy import DAY, START, toy_config

DATA = PROJECT / "tests" / "data" / "0.1.0"
FACTS = json.loads((DATA / "facts.json").read_text())
MADE_AT = "/srv/keel"
"""Where the installation was made: MLflow keeps absolute addresses of artifacts."""
REVISION = "0003"
"""Of the schema of Keel 0.1.0."""
LIVE = START + 18 * DAY
"""When version 1 went into production."""
CONFIG = toy_config(
    check={"schedule": None, "lookback": "3d"},
    drift={"min_rows": 100},
    retrain={"pipeline": "tests.support.pipelines.toy", "window": "10d", "holdout": "4d", "min_rows": 200},
).with_overrides({"performance.min_rows": 100})
EVER = (datetime(1900, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
DAY_OF_THE_SPOOL = (LIVE + 38 * DAY, LIVE + 39 * DAY)


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files as they were made, to copy."""
    folder = tmp_path_factory.mktemp("0.1.0")
    with tarfile.open(DATA / "installation.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def home(installation: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own with this installation, which the command line uses too."""
    home = tmp_path / "keel"
    shutil.copytree(installation, home)
    move_artifacts(home)
    (home / "models" / "toy").mkdir(parents=True)
    file = {"model": "toy", "target": {"name": "bought"}, "features": dict(CONFIG.features)}
    (home / "models" / "toy" / "model.yaml").write_text(yaml.safe_dump(file))
    for name in ("KEEL_STORE_URL", "MLFLOW_TRACKING_URI", "KEEL_SIGNING_KEY", "KEEL_VERIFY_KEY", "KEEL_CHECKPOINTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KEEL_HOME", str(home))
    monkeypatch.setenv("KEEL_MODELS_FOLDER", str(home / "models"))
    return home


@pytest.fixture
def ws(home: Path):
    with Workspace.open(home=home, environment={}) as opened:
        yield opened


def move_artifacts(home: Path) -> None:
    """Let MLflow find the artifacts under ``home``."""
    with sqlite3.connect(home / "mlflow.db") as connection:
        for table, column in connection.execute(
            "SELECT t.name, c.name FROM sqlite_master t, pragma_table_info(t.name) c "
            "WHERE t.type = 'table' AND (c.type LIKE '%CHAR%' OR c.type = 'TEXT')"
        ).fetchall():
            connection.execute(f'UPDATE "{table}" SET "{column}" = replace("{column}", ?, ?)', (MADE_AT, str(home)))
    connection.close()


def keel(*arguments: str) -> str:
    done = CliRunner().invoke(command_line.app, arguments)
    assert done.exception is None, done.exception
    return done.stdout


def decided(ws: Workspace, action: str, days: float):
    """Return the decision of one action about the window that ended so many days after version 1 went live."""
    end = LIVE + timedelta(days=days)
    [found] = [d for d in ws.store.decisions.list("toy", action) if d["window_end"] == end]
    return found


def test_old_store_is_migrated_and_whole(ws: Workspace) -> None:
    with ws.store.connect() as connection:
        assert migrations.current_revision(connection) == migrations.HEAD
    assert ws.store.verify(thorough=True) == []
    assert [entry.action for entry in ledger.entries(ws.store, "toy")] == FACTS["actions"]
    assert ledger.verify(ws.store).broken_at is None
    assert find_disagreements(ws.store) == []


def test_old_ledger_folds_to_the_deployment_it_had(ws: Workspace) -> None:
    state = history(ws.store, "toy")
    assert (
        deployments.read(ws.store, "toy").aliases
        == FACTS["deployment"]
        == ws.registry.aliases("toy") | {"staging": None}
    )
    assert {str(version): str(state.status(version)) for version in state.pins} == FACTS["statuses"]
    assert state.probation is not None
    assert (state.probation.version, state.experiment) == (4, None)


@pytest.mark.parametrize("offline", [True, False])
def test_old_checkpoints_hold(home: Path, offline: bool) -> None:
    place = ("--checkpoints", str(DATA / "checkpoints"), "--public-key", str(DATA / "verify-key.pub"))
    file = ("--file", str(DATA / "ledger.jsonl")) if offline else ()
    found = json.loads(keel("ledger", "verify", *file, *place, "--json"))
    entries = len(FACTS["actions"])
    assert (found["holds"], found["entries"], found["covered"], found["checkpoints"]) == (True, entries, entries, 2)


def test_old_ledger_is_exported_byte_for_byte(home: Path, tmp_path: Path) -> None:
    keel("ledger", "export", str(tmp_path / "again.jsonl"))
    assert (tmp_path / "again.jsonl").read_bytes() == (DATA / "ledger.jsonl").read_bytes()


def test_old_checks_have_pages(ws: Workspace) -> None:
    """Each check has one; that of the last, which led to a retrain, is a file that a person looked at."""
    pages = {}
    for key in ws.store.reports.keys("toy", ["drift"]):
        assert key.version is not None
        data = check.collect(ws, CONFIG, key.version, Window(key.start, key.end))
        pages[key.end] = render_html(check.page(replace(data, release="0.3.0")))
        assert json.dumps(check.document(data), allow_nan=False)
    assert len(pages) == 7
    require_golden("stored_by_0.1.0", pages[max(pages)])


def test_old_ledger_is_told_as_a_story(home: Path) -> None:
    lines = [line for line in keel("ledger", "show", "toy").splitlines() if line.startswith("  ")]
    assert len(lines) == len(FACTS["actions"])
    facts = {
        1: ("ersion 1", "18 January 2026"), 3: ("24 January 2026",), 4: ("26 January 2026", "ada"),
        7: ("grace", "ersion 2"), 10: ("grace", "ersion 2"), 12: ("customers complain", "bob", "ersion 1"),
        15: ("ersion 3", "720"), 17: ("ersion 4", "0.1104"), 18: ("is it better on live rows?", "ersion 4", "25 %"),
        20: ("ersion 4", "ersion 3"),
    }  # fmt: skip
    for row, expected in facts.items():
        assert [fact for fact in expected if fact not in lines[row - 1]] == [], lines[row - 1]


def test_old_versions_are_listed(home: Path) -> None:
    found = json.loads(keel("versions", "list", "toy", "--json"))
    assert {str(each["version"]): each["status"] for each in found} == FACTS["statuses"]
    for each in found:
        assert each["pinned"]
        assert each["in_registry"]
        assert each["metrics"]["brier"] > 0
        assert each["trained_on"]["start"] < each["trained_on"]["end"]
    assert "customers complain" in keel("versions", "list", "toy")


def test_old_experiment_is_listed_with_its_outcome(home: Path) -> None:
    [found] = json.loads(keel("experiment", "list", "toy", "--json"))
    assert (found["champion"], found["challenger"], found["outcome"]["outcome"]) == (3, 4, "promote")
    assert (found["max_n"], found["metric"], len(found["stages"])) == (400, "brier", 2)


def test_old_quarantines_are_listed(home: Path) -> None:
    [found] = json.loads(keel("quarantine", "list", "toy", "--json"))
    assert datetime.fromisoformat(found["start"]) == datetime.fromisoformat(FACTS["set_aside"]["start"])
    assert datetime.fromisoformat(found["end"]) == datetime.fromisoformat(FACTS["set_aside"]["end"])


def test_old_reports_and_decisions_are_told_as_new_ones_are(ws: Workspace) -> None:
    found = ws.store.decisions.list("toy", limit=100)
    assert {d["decision_id"]: d["action"] for d in found} == FACTS["decisions"]
    reports = ws.store.reports.list("toy", limit=100)
    assert {r["report_id"]: r["kind"] for r in reports} == FACTS["reports"]
    told = []
    for each in sorted(found, key=lambda d: (d["window_end"], d["created_at"])):
        decision, outcome = records(each)
        posted = loop.notify(ws, CONFIG, decision, outcome, now=each["window_end"])
        told.append((each["action"], {(str(news.alert.kind), str(news.change)) for news in posted.news}))
    promotion = {("promotion", "event")}
    assert [each for each in told if each[1]] == [
        ("retrain", promotion),
        ("quarantine", {("data_quality", "firing")}),
        ("retrain", {("performance", "firing"), ("data_quality", "resolved")}),
        ("retrain", promotion),  # declined by a person
        ("promote", {*promotion, ("performance", "resolved"), ("data_drift", "resolved")}),
        ("rollback", {("rollback", "event")}),
        ("retrain", promotion),
        ("watch", {("probation", "event")}),
        ("end_experiment", {("experiment", "event"), *promotion}),
    ]
    alerts = {(each["kind"], each["subject"]): each for each in ws.store.alerts.list("toy")}
    assert alerts["data_drift", "z"]["sentence"].startswith("z has drifted")
    assert alerts["performance", ""]["evidence"]["value"] > 0.6
    assert {each["state"] for each in alerts.values()} == {"resolved"}


def records(decision) -> tuple[DecisionRecord, Outcome | None]:
    """Return a stored decision and its outcome as the steps read them."""
    outcome = decision["outcome"]
    return DecisionRecord.from_dict(decision["body"]), Outcome.from_dict(outcome) if outcome else None


def test_last_old_window_checked_again_gives_the_same_numbers(ws: Workspace) -> None:
    before = decided(ws, "all_clear", 38)
    stored = {r["kind"]: r for r in ws.store.reports.list("toy", limit=100) if r["window_end"] == before["window_end"]}
    counted = loop.count_window(ws, CONFIG, loop.resolve_window(CONFIG, end=before["window_end"], now=LIVE))
    for step in (loop.check_data_quality, loop.check_data_drift, loop.check_performance):
        found = step(ws, CONFIG, counted)
        assert found.report_id == stored[found.kind]["report_id"]
        assert found.status == stored[found.kind]["status"]
    again = ws.store.reports.get(stored["performance"]["report_id"])
    assert again["body"]["current"]["brier"]["value"] == stored["performance"]["body"]["current"]["brier"]["value"]
    decision = loop.decide(ws, CONFIG, counted, run_id="again")
    assert (decision.decision_id, decision.action) == (before["decision_id"], "all_clear")


def test_old_comparisons_are_rendered_and_count_as_uses_of_their_holdout(ws: Workspace) -> None:
    comparisons = ws.store.reports.list("toy", "comparison")
    assert len(comparisons) == 5 + 1
    for each in comparisons:
        comparison = ComparisonRecord.from_dict(each["body"])
        assert f"version {comparison.challenger}" in page(comparison).eyebrow
    span = {"start": "2026-02-01T00:00:00+00:00", "end": "2026-02-05T00:00:00+00:00"}
    request = PromotionRequest.from_dict(
        {"decision_id": "new", "model": "toy", "version": 3, "window": span, "action": "promote", "sentence": "new",
         "champion": 3, "challenger": 9, "holdout": span, "until": span["end"]}
    )  # fmt: skip
    assert prior_comparisons(ws, "comparison-new", request, request.holdout, rows=360) == 3


def test_old_comparison_is_acted_on(ws: Workspace) -> None:
    [each] = [c for c in ws.store.reports.list("toy", "comparison") if c["body"].get("n") == 360 and c["version"] == 4]
    before = len(FACTS["actions"])
    decision, _ = records(decided(ws, "retrain", 28))
    comparison = ComparisonRecord.from_dict(each["body"])
    outcome = rollout.keep_champion(ws, CONFIG, comparison.report_id, actor="ada", run_id="manual__5")
    assert outcome.lower_bound == pytest.approx(0.0923, abs=1e-4)
    assert loop.notify(ws, CONFIG, decision, outcome, now=LIVE + 28 * DAY).message_id is None, "it waits for a digest"
    [kept] = [each for each in ws.store.alerts.list("toy") if each["kind"] == "retrained"]
    assert kept["evidence"]["lower_bound"] == outcome.lower_bound
    assert len(list(ledger.entries(ws.store, "toy"))) == before, "it was recorded before"


def test_old_hourly_sums_give_the_performance_they_gave(ws: Workspace) -> None:
    found = performance_history.series(ws, CONFIG, LIVE, LIVE + 38 * DAY, bucket="day")
    assert [{name: day[name] for name in each} for day, each in zip(found, FACTS["performance"], strict=True)] == (
        FACTS["performance"]
    )


def test_rollback_from_an_old_version_works(ws: Workspace) -> None:
    asked = rollout.request_rollback(
        ws, CONFIG, reason="upgrade", version=None, end=LIVE + 38 * DAY, actor="ada", run_id="rollback"
    )
    assert rollout.rollback(ws, CONFIG, asked.decision_id, actor="ada", run_id="rollback").version == 3
    assert ws.registry.aliases("toy") == {"production": 3}
    assert ledger.verify(ws.store).broken_at is None
    assert find_disagreements(ws.store) == []


def test_old_undelivered_reports_are_notified_once_and_the_notified_ones_never(ws: Workspace) -> None:
    [sentence] = undelivered_records(ws.store, "toy", run_id="new")
    assert "label" in sentence
    assert undelivered_records(ws.store, "toy", run_id="new") == [sentence], (
        "the run may have ended before it sent anything"
    )
    assert undelivered_records(ws.store, "toy", run_id="newer") == []
    [old] = undelivered_records(ws.store, "toy", run_id="scheduled__12")
    assert "NUL" in old


def test_old_spool_is_delivered_exactly_once(ws: Workspace) -> None:
    before = ws.predictions(CONFIG).count(*EVER)
    for expected in (3, 0):
        spool = Spool.open(ws.home / "spool", durability=Durability.WRITE)
        assert spool.stats.dead_letters == 2, "the records that 0.1.0 could not store are counted"
        shipper = SpoolShipper(ws, {"toy": CONFIG}, spool, Metrics(), folder=ws.home / "spool")
        shipment = shipper.ship()
        assert (shipment.records if shipment else 0) == expected
        assert shipper.ship() is None
        spool.close()
        assert ws.predictions(CONFIG).count(*EVER) == before + 3
    assert not (ws.home / "spool" / "set-aside").exists(), "moved to dead-letters"
    assert len(list((ws.home / "spool" / "dead-letters").iterdir())) == 2
    rows = ws.predictions(CONFIG).read(*DAY_OF_THE_SPOOL, 3)[0]
    assert {"spooled-1", "spooled-2", "spooled-3"} <= set(rows["id"].to_pylist())
    labelled = ws.predictions(CONFIG).labelled(*DAY_OF_THE_SPOOL)
    assert labelled.select(["id", "label"]).to_pylist() == [{"id": "spooled-1", "label": 1.0}]
    found, _ = ws.predictions(CONFIG).experiment_rows("experiment-of-0.1.0", *EVER, ("shadow_version",))
    assert found.select(["arm", "allocation", "shadow_version"]).to_pylist() == [
        {"arm": "champion", "allocation": 0.75, "shadow_version": 4.0},
        {"arm": "challenger", "allocation": 0.25, "shadow_version": 4.0},
    ]


@pytest.mark.postgres
def test_old_rows_in_postgres_are_migrated_and_whole(
    installation: Path, new_postgres_database, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = new_postgres_database()
    with monkeypatch.context() as earlier:
        earlier.setattr(migrations, "HEAD", REVISION)
        database = Database(parse_url(url), 20)
        migrations.migrate(database.engine)
    old = sa.create_engine(f"sqlite:///{installation / 'keel.db'}")
    tables = sa.MetaData()
    tables.reflect(old, only=lambda name, _: not name.startswith("sqlite_") and name != migrations.VERSION_TABLE)
    for table in tables.tables.values():
        for column in table.columns:  # SQLite's REAL keeps 8 bytes, PostgreSQL's only 4
            column.type = sa.Double() if isinstance(column.type, sa.REAL | sa.Float) else column.type
        with old.connect() as reader, database.begin() as writer:
            if table.name == "predictions_toy":
                table.create(writer)
            if rows := reader.execute(sa.select(table)).mappings().all():
                writer.execute(sa.insert(table), [dict(row) for row in rows])
    old.dispose()
    database.close()
    with Store.open(url, timeout=20) as store:
        with store.connect() as connection:
            assert migrations.current_revision(connection) == migrations.HEAD
        assert store.verify(thorough=True) == []
        assert [entry.action for entry in ledger.entries(store, "toy")] == FACTS["actions"]
        assert ledger.verify(store).broken_at is None
        assert find_disagreements(store) == []
        assert store.predictions("toy", CONFIG.features).count(*EVER) > 1_000

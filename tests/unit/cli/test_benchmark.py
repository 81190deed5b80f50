"""``keel benchmark``: versions compared on a terminal, in plain lines and as JSON."""

from __future__ import annotations

import inspect
import io
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner, Result

from keel.cli import main as command_line
from keel.cli.benchmark import benchmark, show
from keel.errors import ConfigError, InsufficientData, UnknownModel, UnknownVersion
from keel.evaluation.benchmark import latency
from keel.rollout import benchmark as benchmarking
from tests.support.benchmark_world import CONFIG, two_versions

REPORT = {
    "model": "toy",
    "production": 3,
    "baseline": 3,
    "rows": 1_000,
    "seed": 0,
    "window": {"start": "2026-02-08T22:00:00+00:00", "end": "2026-02-10T23:57:00+00:00"},
    "machine": {"python": "3.11.7", "system": "Linux", "architecture": "x86_64", "cpus": 2},
    "versions": {
        "3": {
            "p50_ms": 5.126,
            "p99_ms": 8.0,
            "batch_1000_p50_ms": 9.5,
            "rows_per_second": 105263.2,
            "memory_mb": None,
            "size_mb": 1.04,
            "calls": {"1": 600, "1000": 300},
            "ratios": {
                "p50_ms": 1.0,
                "p99_ms": 1.0,
                "batch_1000_p50_ms": 1.0,
                "rows_per_second": 1.0,
                "memory_mb": None,
                "size_mb": 1.0,
            },
        },
        "4": {
            "p50_ms": 10.252,
            "p99_ms": None,
            "batch_1000_p50_ms": 4.75,
            "rows_per_second": 210526.3,
            "memory_mb": 7.812,
            "size_mb": 104.0,
            "calls": {"1": 600, "1000": 300},
            "ratios": {
                "p50_ms": 2.0,
                "p99_ms": None,
                "batch_1000_p50_ms": 0.5,
                "rows_per_second": 2.0,
                "memory_mb": None,
                "size_mb": 100.0,
            },
        },
    },
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, new_home: Callable[[Path], Path]) -> Path:
    folder = new_home(tmp_path_factory.mktemp("benchmark"))
    two_versions(folder)
    (folder / "models" / "toy").mkdir(parents=True)
    raw = CONFIG.model_dump(mode="json", include={"model", "features", "performance"})
    raw |= {"target": {"name": "bought", "label_delay": "24h"}, "retrain": {"pipeline": "tests.support.pipelines.toy"}}
    (folder / "models" / "toy" / "model.yaml").write_text(yaml.safe_dump(raw))
    return folder


def memory_of_some(config: object, stored: Mapping[int, object], rows: object) -> dict[int, float]:
    """In place of `measure_memory`, whose processes take most of a benchmark; test_latency.py runs the real one."""
    return dict.fromkeys(stored, 7.8)


@pytest.fixture(autouse=True)
def at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmarking, "measure_memory", memory_of_some)
    monkeypatch.setattr(latency, "MIN_CALLS", 20)  # the numbers are not under test
    monkeypatch.setenv("KEEL_HOME", str(home))
    monkeypatch.setenv("KEEL_MODELS_FOLDER", str(home / "models"))
    for name in ("KEEL_STORE_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)


def keel(*arguments: str) -> Result:
    return CliRunner().invoke(command_line.app, ["benchmark", *arguments])


def test_benchmark_prints_plain_lines_and_its_progress_on_standard_error() -> None:
    done = keel("toy", "--seconds", "0.1")
    assert done.exit_code == 0, done.output
    assert done.stderr == "measuring versions of toy\n"
    head, *lines, remark = done.stdout.splitlines()
    assert head.split() == ["version", "1", "(production)", "version", "2"]
    labels = [line[:20].strip() for line in lines]
    assert labels[:4] == ["1 row: p50, ms", "1 row: p95, ms", "1 row: p99, ms", "100 rows: p50, ms"]
    assert labels[-5:] == ["1,000 rows: p99, ms", "rows per second", "load time, ms", "memory, MB", "on disk, MB"]
    numbers = re.compile(r" +([\d.,]+|–) +([\d.,]+  ×\d+\.\d\d|–)")
    assert [line for line in lines if not numbers.fullmatch(line[20:])] == []
    assert remark.startswith("× is the ratio to version 1. Scored: 1,000 predictions of 2026-02-08T22:00 to ")


def test_benchmark_as_json_prints_one_document_only() -> None:
    done = keel("toy", "2", "1", "--seconds", "0.1", "--end", "2026-02-01", "--json")
    report = json.loads(done.stdout)
    assert (done.exit_code, done.stderr) == (0, "")
    assert (list(report["versions"]), report["baseline"]) == (["2", "1"], 1)
    assert report["window"]["end"] == "2026-01-31T23:57:00+00:00"


def test_benchmark_that_cannot_be_done_names_the_way_out() -> None:
    for arguments, error, sentence in (
        (["tyo"], UnknownModel, "did you mean 'toy'"),
        (["toy", "7"], UnknownVersion, "toy has no version 7; versions: 1, 2"),
        (["toy", "1", "1"], ConfigError, "versions: 1 named more than once"),
        (["toy", "--end", "noon"], ConfigError, "'noon' is not an ISO 8601 time"),
        (["toy", "--end", "2025-01-01"], InsufficientData, "run `keel replay`"),
    ):
        raised = keel(*arguments).exception
        assert isinstance(raised, error)
        assert sentence in str(raised)
    for arguments in (["toy", "newest"], ["toy", "--seconds", "0"], []):
        assert keel(*arguments).exit_code == 2


def test_benchmark_has_the_default_duration_of_the_core() -> None:
    assert inspect.signature(benchmark).parameters["seconds"].default == latency.SECONDS


def shown(**how: object) -> list[str]:
    written = io.StringIO()
    show(REPORT, Console(file=written, width=80, highlight=False, color_system=None, **how))
    return written.getvalue().splitlines()


def test_show_prints_a_table_on_a_terminal_and_the_same_lines_elsewhere() -> None:
    *lines, remark = shown(force_terminal=False)
    assert lines == [
        "                     version 3 (production)       version 4",
        "1 row: p50, ms                         5.13     10.3  ×2.00",
        "1 row: p99, ms                            8               –",
        "1,000 rows: p50, ms                     9.5     4.75  ×0.50",
        "rows per second                     105,263  210,526  ×2.00",
        "memory, MB                                –            7.81",
        "on disk, MB                            1.04    104  ×100.00",
    ]
    assert remark == (
        "× is the ratio to version 3. Scored: 1,000 predictions of 2026-02-08T22:00 to 2026-02-10T23:57; "
        "Python 3.11.7, x86_64, 2 CPUs."
    )
    top, head, _, *rows, bottom, said = shown(force_terminal=True)
    assert (top[0], bottom[-1], said) == ("┏", "┘", remark)
    assert [[cell.strip() for cell in re.split("[│┃]", row)[1:-1]] for row in (head, *rows)] == [
        [line[:20].strip(), line[20:44].strip(), line[44:].strip()] for line in lines
    ]

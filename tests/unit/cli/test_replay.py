"""``keel replay``: a pipeline that cannot be used is one message, and leaves nothing behind."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from keel.cli import main as command_line
from keel.config import MODELS_FOLDER
from keel.errors import ConfigError, KeelError, TrainingFailed

INTERVAL = ("--start", "2013-01-01", "--end", "2013-02-01")
EXAMPLE = (MODELS_FOLDER / "flight_delay" / "model.yaml").read_text()


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str | None], None]:
    """Write the source of the model's pipeline; None: there is no such module."""
    monkeypatch.setenv("KEEL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KEEL_MODELS_FOLDER", str(tmp_path / "models"))
    monkeypatch.syspath_prepend(tmp_path / "code")
    package = f"team_{tmp_path.name}"
    (tmp_path / "models" / "flight_delay").mkdir(parents=True)
    config = EXAMPLE.replace("models.flight_delay.pipeline", f"{package}.pipeline")
    (tmp_path / "models" / "flight_delay" / "model.yaml").write_text(config)
    (tmp_path / "code" / package).mkdir(parents=True)

    def write(source: str | None) -> None:
        if source is not None:
            (tmp_path / "code" / package / "pipeline.py").write_text(source)
        importlib.invalidate_caches()

    return write


def replay(*arguments: str) -> Result:
    return CliRunner().invoke(command_line.app, ["replay", "flight_delay", *arguments])


@pytest.mark.parametrize(
    ("source", "kind", "message"),
    [
        (None, ConfigError, "cannot be imported: ModuleNotFoundError: No module named"),
        ("def (:", ConfigError, "cannot be imported: SyntaxError: invalid syntax (pipeline.py, line 1)"),
        ("\nraise ZeroDivisionError('by 0')", ConfigError, "ZeroDivisionError: by 0 (pipeline.py, line 2)"),
        ("import no_such_module", ConfigError, "No module named 'no_such_module' (pipeline.py, line 1)"),
        ("labelled_history = 5", ConfigError, "has no labelled_history(config), so Keel has nothing to replay"),
        ("def labelled_history(config):\n    return {}['a']", TrainingFailed, "KeyError: 'a' (pipeline.py, line 2)"),
        ("def labelled_history(config):\n    return []", TrainingFailed, "returned list, not a pyarrow.Table"),
    ],
)
def test_replay_of_a_pipeline_that_cannot_be_used_names_it_and_leaves_nothing_behind(
    source: str | None, kind: type[KeelError], message: str, pipeline: Callable[[str | None], None], tmp_path: Path
) -> None:
    pipeline(source)
    done = replay(*INTERVAL)
    assert type(done.exception) is kind
    assert message in str(done.exception)
    assert f"team_{tmp_path.name}.pipeline" in str(done.exception)
    assert not (tmp_path / "home").exists()


def test_replay_to_now_of_an_interval_that_cannot_be_moved_is_refused(
    pipeline: Callable[[str | None], None], tmp_path: Path
) -> None:
    pipeline("def labelled_history(config): raise AssertionError")
    done = replay("--start", "0001-01-01", "--end", "9999-12-31", "--to-now")
    assert isinstance(done.exception, ConfigError)
    assert str(done.exception).startswith("--start 0001-01-01: ")

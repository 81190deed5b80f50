"""Conventions of the command line: exit codes, --json, and messages without a traceback."""

from __future__ import annotations

import errno
import io
import json
import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from rich.console import Console
from typer.main import get_command
from typer.testing import CliRunner

from keel import errors
from keel.cli import main as command_line
from keel.cli.output import Progress
from keel.config import renames


def run(monkeypatch: pytest.MonkeyPatch, error: BaseException, *arguments: str) -> int | str | None:
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def fail(as_json: command_line.JsonOption = False) -> None:
        raise error

    monkeypatch.setattr(command_line, "app", app)
    monkeypatch.setattr(sys, "argv", ["keel", *arguments])
    with pytest.raises(SystemExit) as caught:
        command_line.main()
    return caught.value.code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.TrainingFailed("the pipeline raised"), 1),
        (errors.ConfigError("model.yaml: drift.alhpa: unknown key"), 2),
        (errors.UnknownModel("tide", ["flight_delay"]), 2),
        (errors.StoreUnavailable("postgres at db:5432 does not answer"), 3),
        (errors.RegistryUnavailable("no registry"), 3),
    ],
)
def test_main_prints_an_error_as_one_message_with_its_exit_code(
    error: errors.KeelError, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, error) == code
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err == f"keel: {error}\n"


def test_main_with_json_prints_the_error_as_the_document(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, errors.StoreUnavailable("no store"), "--json") == 3
    assert json.loads(capsys.readouterr().out) == {"error": "no store", "kind": "StoreUnavailable", "exit_code": 3}


def test_main_prints_an_error_of_the_system_as_one_message_with_exit_code_3(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, NotADirectoryError(errno.ENOTDIR, "Not a directory", "afile/x")) == 3
    assert capsys.readouterr().err == "keel: afile/x: Not a directory\n"
    assert run(monkeypatch, OSError(errno.ENOSPC, "No space left on device"), "--json") == 3
    assert json.loads(capsys.readouterr().out)["error"] == "No space left on device"


def test_main_keeps_the_traceback_of_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ZeroDivisionError):
        run(monkeypatch, ZeroDivisionError())


def test_main_exits_with_130_on_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, KeyboardInterrupt()) == 130


@pytest.mark.parametrize("arguments", [["no-such-command"], ["version", "--no-such-option"]])
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(command_line.app, arguments).exit_code == 2


def test_version_prints_the_versions_of_keel_airflow_mlflow_and_python() -> None:
    plain = CliRunner().invoke(command_line.app, ["version"])
    assert plain.exit_code == 0
    assert plain.output.splitlines()[1].startswith("apache-airflow 3.")
    versions = json.loads(CliRunner().invoke(command_line.app, ["version", "--json"]).output)
    assert set(versions) == {"keel", "apache-airflow", "mlflow", "python"}


def test_progress_without_a_terminal_prints_plain_lines() -> None:
    written = io.StringIO()
    with Progress(console=Console(file=written, force_terminal=False)) as progress:
        progress("starting [1/2]")
        progress("done")
    assert written.getvalue() == "starting [1/2]\ndone\n"


def test_progress_on_a_terminal_prints_whole_lines_above_its_spinner() -> None:
    written = io.StringIO()
    with Progress(console=Console(file=written, force_terminal=True, width=40)) as progress:
        progress("starting [1/2]")
        progress.print("Airflow  http://127.0.0.1:8080 [admin], on a line that is longer than the terminal")
        progress("started")
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.getvalue())
    lines = [line.strip() for line in re.split(r"[\r\n]+", shown)]
    assert "Airflow  http://127.0.0.1:8080 [admin], on a line that is longer than the terminal" in lines


def commands(group: Any, *path: str) -> Iterator[tuple[list[str], Any]]:
    """Yield every command with its path; typer has its own copy of click, so classes are not compared."""
    for name, command in group.commands.items():
        yield [*path, name], command
        if hasattr(command, "commands"):
            yield from commands(command, *path, name)


@pytest.mark.parametrize(
    ("path", "command"), [pytest.param(*each, id=" ".join(each[0])) for each in commands(get_command(command_line.app))]
)
def test_help_shows_the_text_of_every_parameter(path: list[str], command: Any) -> None:
    """Rich removes brackets as markup, and shows a docstring's backquotes."""
    shown = CliRunner(env={"COLUMNS": "600"}).invoke(command_line.app, [*path, "--help"]).output
    assert "`" not in shown
    for param in command.params:
        assert param.help, f"{param.name} is not explained"
        assert param.help in shown


@pytest.mark.parametrize(("old", "new"), renames.COMMANDS.items())
def test_an_old_command_is_refused_and_names_the_new_one(
    old: str, new: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["keel", *old.split(), "toy", "1", "--reason", "a reason"])
    with pytest.raises(SystemExit) as caught:
        command_line.main()
    assert caught.value.code == 2
    assert capsys.readouterr().err == f"keel: keel {old}: renamed to keel {new} in 0.2\n"


@pytest.mark.parametrize("glue", [" ", "="])
@pytest.mark.parametrize(("old", "new"), renames.OPTIONS.items())
def test_an_old_option_is_refused_and_names_the_new_one(
    old: str, new: str, glue: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    option = f"{old}{glue}9".split(" ")
    monkeypatch.setattr(sys, "argv", ["keel", "experiment", "start", "toy", "--reason", "a reason", *option])
    with pytest.raises(SystemExit) as caught:
        command_line.main()
    assert caught.value.code == 2
    assert capsys.readouterr().err == f"keel: {old}: renamed to {new} in 0.2\n"


def test_the_new_names_of_commands_and_options_exist() -> None:
    known = {" ".join(path): command for path, command in commands(get_command(command_line.app))}
    assert set(renames.COMMANDS.values()) <= known.keys()
    options = {option for param in known["experiment start"].params for option in param.opts}
    assert set(renames.OPTIONS.values()) <= options

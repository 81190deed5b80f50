"""The ``keel`` command: its subcommands, and the one place where errors become exit codes.

Exit codes: 0 success, 1 a check failed, 2 usage or configuration, 3 infrastructure, 130 and 143 interrupted.
"""

from __future__ import annotations

import platform
import sys
from importlib.metadata import version as installed_version
from typing import NoReturn

import typer

from keel.cli.alerts.app import app as alerts
from keel.cli.backtest import backtest
from keel.cli.benchmark import benchmark
from keel.cli.checks.report import report
from keel.cli.checks.status import status
from keel.cli.detect import detect
from keel.cli.experiment import app as experiment
from keel.cli.feedback import feedback
from keel.cli.ledger import app as ledger
from keel.cli.live import live
from keel.cli.maintenance import maintenance
from keel.cli.migrate import migrate
from keel.cli.output import JsonOption, print_json
from keel.cli.quarantine import app as quarantine
from keel.cli.renamed import RenamedCommands
from keel.cli.replay import replay
from keel.cli.serve import serve
from keel.cli.standalone.demo import demo
from keel.cli.standalone.up import up
from keel.cli.versions.manage import app as model_versions
from keel.errors import KeelError

SYSTEM_ERROR = 3
"""Exit code of an error of the operating system, as of other infrastructure."""

app = typer.Typer(
    name="keel",
    help="Monitor, retrain, promote and A/B-test deployed models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    cls=RenamedCommands,
)
# Each command has its own module, which imports heavy libraries only when the command runs.
app.command()(demo)
app.command()(up)
app.command()(replay)
app.command()(serve)
app.command()(migrate)
app.command()(benchmark)
app.command()(detect)
app.command()(backtest)
app.command()(feedback)
app.command()(report)
app.command()(status)
app.command()(live)
app.command()(maintenance)
app.add_typer(alerts, name="alerts")
app.add_typer(experiment, name="experiment")
app.add_typer(ledger, name="ledger")
app.add_typer(quarantine, name="quarantine")
app.add_typer(model_versions, name="versions")


@app.command()
def version(as_json: JsonOption = False) -> None:
    """Print the versions of Keel, Airflow, MLflow and Python."""
    names = ("keel", "apache-airflow", "mlflow")
    versions = {**{name: installed_version(name) for name in names}, "python": platform.python_version()}
    if as_json:
        print_json(versions)
    else:
        typer.echo("\n".join(f"{name} {number}" for name, number in versions.items()))


def main() -> None:
    """Run the command line. One of Keel's own errors, or of the system's, becomes a message and an exit code."""
    try:
        app()
    except KeelError as error:
        _end(error, str(error), error.exit_code)
    except OSError as error:  # a folder that cannot be written, a full disk
        where = f"{error.filename}: " if error.filename else ""
        _end(error, f"{where}{error.strerror or error}", SYSTEM_ERROR)


def _end(error: Exception, message: str, exit_code: int) -> NoReturn:
    if "--json" in sys.argv:
        print_json({"error": message, "kind": type(error).__name__, "exit_code": exit_code})
    else:
        typer.secho(f"keel: {message}", err=True, fg=typer.colors.RED)
    sys.exit(exit_code)


if __name__ == "__main__":
    main()

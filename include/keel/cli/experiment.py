"""``keel experiment``: trying a challenger in production beside the champion, and what it has shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from keel.cli.output import JsonOption, print_json
from keel.cli.versions import plain

if TYPE_CHECKING:
    from keel.deployments.experiments import Experiment
    from keel.evaluation.experiment.plan import Mode

app = typer.Typer(
    help="Trying a challenger in production beside the champion, and what it has shown.", no_args_is_help=True
)
ModelArgument = Annotated[str, typer.Argument(help="A configured model.")]
ReasonOption = Annotated[str, typer.Option(help="Why; kept in the ledger.")]
HEAD = ("experiment", "versions", "how", "since", "status", "what it came to")
MAX_N = 100_000


@app.command()
def start(
    model: ModelArgument,
    reason: ReasonOption,
    challenger: Annotated[int | None, typer.Option(help="The version to try. Default: the one in staging.")] = None,
    allocation: Annotated[float | None, typer.Option(help="The challenger's share, in (0, 1). Default: 0.5.")] = None,
    ramp: Annotated[str | None, typer.Option(help="Percentages with durations instead: 5:24h,20:24h,50.")] = None,
    shadow: Annotated[bool, typer.Option("--shadow", help="Ask the challenger too, and let it answer nobody.")] = False,
    metric: Annotated[str | None, typer.Option(help="Default: performance.metric.")] = None,
    margin: Annotated[float | None, typer.Option(help="What must be exceeded. Default: promotion.margin.")] = None,
    alpha: Annotated[float | None, typer.Option(help="Chance of a wrong verdict. Default: promotion.alpha.")] = None,
    max_n: Annotated[int, typer.Option("--max-n", help="Outcomes after which it ends in any case.")] = MAX_N,
    least: Annotated[str | None, typer.Option(help="How long it lasts before a verdict. Default: 7d.")] = None,
    most: Annotated[
        str | None, typer.Option(help="When it ends in any case. Default: 60d and the label delay.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Start an experiment; keel serve follows within its next poll, MODEL.watch_deployment ends it with its verdict."""
    from getpass import getuser

    from keel import rollout
    from keel.config import get_model
    from keel.window import now_utc
    from keel.workspace import Workspace

    mode: Mode = "shadow" if shadow else "ab"
    config, now = get_model(model), now_utc()
    stages = rollout.stages_of(mode=mode, allocation=allocation, ramp=ramp)
    lasts = {name: rollout.duration_of(name, asked) for name, asked in (("least", least), ("most", most))}
    with Workspace.open() as ws:
        decision = rollout.start_experiment(
            ws, config, challenger=challenger, mode=mode, stages=stages, metric=metric,
            margin=margin, alpha=alpha, max_n=max_n, least=lasts["least"], most=lasts["most"], actor=getuser(),
            run_id=f"cli__{now.isoformat()}", reason=reason, now=now,
        )  # fmt: skip
    if as_json:
        print_json(decision["plan"])
    else:
        typer.echo(decision["sentence"])


@app.command()
def stop(model: ModelArgument, reason: ReasonOption, as_json: JsonOption = False) -> None:
    """End the running experiment without a verdict: the champion answers everybody again."""
    from getpass import getuser

    from keel import rollout
    from keel.config import get_model
    from keel.window import now_utc
    from keel.workspace import Workspace

    config, now = get_model(model), now_utc()
    with Workspace.open() as ws:
        decision = rollout.stop_experiment(
            ws, config, actor=getuser(), run_id=f"cli__{now.isoformat()}", reason=reason, now=now
        )
    if as_json:
        print_json({name: decision[name] for name in ("model", "experiment_id", "sentence", "reason")})
    else:
        typer.echo(decision["sentence"])


@app.command()
def show(
    model: ModelArgument,
    experiment_id: Annotated[
        str | None, typer.Argument(help="Default: the one that runs, else the last.", metavar="EXPERIMENT")
    ] = None,
    end: Annotated[str, typer.Option(help="On what was known by this time, ISO 8601. Default: now.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Look at an experiment now, as often as you like: looking changes neither it nor its verdict."""
    from keel import rollout
    from keel.config import get_model
    from keel.window import now_utc, parse_time
    from keel.workspace import Workspace

    config = get_model(model)
    with Workspace.open() as ws:
        found = _chosen(ws.store, config.model, experiment_id)
        until, report = parse_time(end), found.outcome and ws.store.reports.get(str(found.outcome["report_id"]))
        look = (
            report["body"]  # that which has ended it
            if report and until is None
            else rollout.evaluate_experiment(ws, config, found.plan, end=until or now_utc()).to_dict()
        )
    if as_json:
        print_json({**found.to_dict(), "look": look})
    else:
        _print_look(found, look, Console(highlight=False))


@app.command("list")
def list_(model: ModelArgument, as_json: JsonOption = False) -> None:
    """List a model's experiments, newest first, and how each ended."""
    from keel.config import get_model
    from keel.deployments.experiments import listed
    from keel.workspace import Workspace

    name = get_model(model).model
    with Workspace.open() as ws:
        found = listed(ws.store, name)
    if as_json:
        print_json([each.to_dict() for each in found])
    elif found:
        _print_rows(HEAD, [cells(each) for each in found], Console(highlight=False))
    else:
        typer.echo(f"nothing was ever tried for {name}; to begin: keel experiment start {name} --reason …")


def cells(each: Experiment) -> tuple[str, ...]:
    """Return an experiment's texts, in the order of ``HEAD``."""
    plan, outcome = each.plan, each.outcome or {}
    shares = ", ".join(f"{100 * stage.share:.3g} %" for stage in plan.stages)
    return (
        plan.experiment_id, f"{plan.challenger} beside {plan.champion}", shares or plan.mode,
        f"{plan.started_at:%Y-%m-%d %H:%M}", outcome.get("outcome") or each.status,
        plain(str(outcome.get("sentence") or "")),
    )  # fmt: skip


def _chosen(store: Any, model: str, experiment_id: str | None) -> Experiment:
    """Return the experiment of that id, else the newest; only that can be the one that runs."""
    from keel.deployments import experiments
    from keel.errors import UnknownExperiment

    if experiment_id is not None:
        return experiments.get(store, model, experiment_id)
    known = experiments.listed(store, model)
    if not known:
        raise UnknownExperiment(
            f"nothing was ever tried for {model}; to begin: keel experiment start {model} --reason …"
        )
    return next((each for each in known if each.outcome is None), known[0])


def _print_look(found: Experiment, look: Mapping[str, Any], console: Console) -> None:
    plan, arms = found.plan, (look["champion"], look["challenger"])
    said = found.outcome["sentence"] if found.outcome else f"{plan.experiment_id} runs. {look['sentence']}"
    console.print(Text(plain(said)), soft_wrap=True)
    lines = [
        (name, *(_number(arm[key]) for arm in arms))
        for name, key in (("outcomes judged", "n"), (f"mean {look['loss']}", "mean_loss"), ("rows", "assigned"),
                          ("labels due", "due"), ("labels there", "labelled"), ("left out", "left_out"))
    ]  # fmt: skip
    _print_rows(("", f"champion {plan.champion}", f"challenger {plan.challenger}"), lines, console)
    improvement, *bounds = (look[name] for name in ("improvement", "lower_bound", "upper_bound"))
    told = f"improvement {_number(improvement)}"
    if bounds[0] is not None:
        told += f", from {_number(bounds[0])} to {_number(bounds[1])}"
    method, mature = look["method"].replace("_", " "), look["mature_until"][:16].replace("T", " ")
    rules = f"{method}, alpha {plan.alpha:g}, {look['n']:,} of at most {plan.max_n:,} outcomes, mature until {mature}"
    if found.outcome is None:
        rules += f", ends at {plan.ends_at:%Y-%m-%d %H:%M} at the latest"
    console.print(Text(f"{told}; it must exceed {look['margin']:g} ({rules})"), soft_wrap=True)


def _print_rows(head: Sequence[str], lines: Sequence[Sequence[str]], console: Console) -> None:
    """Print a table on a terminal, aligned lines elsewhere."""
    if console.is_terminal:
        table = Table(*(Column(name) for name in head))
        for line in lines:
            table.add_row(*map(Text, line))
        console.print(table)
        return
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    for line in (head, *lines):
        aligned = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        console.print(aligned.rstrip(), markup=False, soft_wrap=True)


def _number(value: float | None) -> str:
    if value is None:
        return "not known yet"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"

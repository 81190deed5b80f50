"""``keel experiment``: compare a challenger with the champion on live requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keel.cli.output import JsonOption, ModelArgument, one_line, print_json, print_table
from keel.cli.pages import HtmlOption, MarkdownOption, OpenOption, show_page
from keel.cli.renamed import RenamedOptions

if TYPE_CHECKING:
    from pathlib import Path

    from keel.deployments.experiments import Experiment
    from keel.evaluation.experiment.plan import Mode

app = typer.Typer(help="Compare a challenger with the champion on live requests.", no_args_is_help=True)
ReasonOption = Annotated[str, typer.Option(help="Reason, recorded in the ledger.")]
HEAD = ("experiment", "versions", "allocation", "since", "status", "result")
MAX_OUTCOMES = 100_000


@app.command(cls=RenamedOptions)
def start(
    model: ModelArgument,
    reason: ReasonOption,
    challenger: Annotated[
        int | None, typer.Option(help="Version to compare with production. Default: the staged version.")
    ] = None,
    allocation: Annotated[
        float | None, typer.Option(help="Share of entities that the challenger answers, in (0, 1). Default: 0.5.")
    ] = None,
    ramp: Annotated[
        str | None, typer.Option(help="Percentages with durations in place of one share, such as 5:24h,20:24h,50.")
    ] = None,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="The challenger scores every request and answers none.")
    ] = False,
    metric: Annotated[str | None, typer.Option(help="Metric to compare. Default: performance.metric.")] = None,
    margin: Annotated[
        float | None, typer.Option(help="Improvement that must be exceeded. Default: promotion.margin.")
    ] = None,
    alpha: Annotated[
        float | None, typer.Option(help="Probability of each wrong verdict. Default: promotion.alpha.")
    ] = None,
    max_outcomes: Annotated[
        int, typer.Option(help="Number of outcomes after which the experiment ends.")
    ] = MAX_OUTCOMES,
    min_duration: Annotated[str | None, typer.Option(help="Time before the first verdict. Default: 7d.")] = None,
    max_duration: Annotated[
        str | None, typer.Option(help="Time after which the experiment ends. Default: 60d and the label delay.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Start an experiment. It ends by itself with a verdict.

    The scoring service follows within its next poll; the DAG MODEL.watch_deployment evaluates the experiment.
    """
    from getpass import getuser

    from keel import rollout
    from keel.config import get_model
    from keel.window import now_utc
    from keel.workspace import Workspace

    mode: Mode = "shadow" if shadow else "ab"
    config, now = get_model(model), now_utc()
    stages = rollout.stages_of(mode=mode, allocation=allocation, ramp=ramp)
    shortest = rollout.duration_of("min_duration", min_duration)
    longest = rollout.duration_of("max_duration", max_duration)
    with Workspace.open() as ws:
        decision = rollout.start_experiment(
            ws,
            config,
            challenger=challenger,
            mode=mode,
            stages=stages,
            metric=metric,
            margin=margin,
            alpha=alpha,
            max_outcomes=max_outcomes,
            min_duration=shortest,
            max_duration=longest,
            actor=getuser(),
            run_id=f"cli__{now.isoformat()}",
            reason=reason,
            now=now,
        )
    if as_json:
        print_json(decision.plan)
    else:
        typer.echo(decision.sentence)


@app.command()
def stop(model: ModelArgument, reason: ReasonOption, as_json: JsonOption = False) -> None:
    """End the running experiment without a verdict; the champion answers every request again."""
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
        print_json(decision.model_dump(mode="json", include={"model", "experiment_id", "sentence", "reason"}))
    else:
        typer.echo(decision.sentence)


@app.command()
def show(
    model: ModelArgument,
    experiment_id: Annotated[
        str | None,
        typer.Argument(help="Id of an experiment. Default: the running one, else the last.", metavar="EXPERIMENT"),
    ] = None,
    end: Annotated[str, typer.Option(help="Evaluate the data known by this time, ISO 8601. Default: now.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Show an experiment's current evidence; showing it changes neither the experiment nor its verdict."""
    found, evidence, _ = _evaluated(model, experiment_id, end)
    if as_json:
        print_json({**found.to_dict(), "evidence": evidence})
    else:
        _print_evidence(found, evidence)


@app.command()
def report(
    model: ModelArgument,
    experiment_id: Annotated[
        str | None,
        typer.Argument(help="Id of an experiment. Default: the running one, else the last.", metavar="EXPERIMENT"),
    ] = None,
    html: HtmlOption = None,
    markdown: MarkdownOption = False,
    open_it: OpenOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show an experiment's page: its result, both arms, whether it is valid, its rules, and what follows."""
    from keel.reports.production.experiment import page

    found, evidence, home = _evaluated(model, experiment_id, "")
    if as_json:
        print_json({**found.to_dict(), "evidence": evidence})
    if not as_json or html is not None or open_it:
        where = home / "reports" / f"{found.plan.model}-{found.plan.experiment_id}.html"
        shown = page(evidence, found.outcome)
        show_page(shown, html=html, markdown=markdown and not as_json, open_it=open_it, default=where)


def _evaluated(model: str, experiment_id: str | None, end: str) -> tuple[Experiment, dict[str, Any], Path]:
    """Return an experiment, its evidence (what ended it, or is known of it at a time), and the workspace's folder."""
    from keel import rollout
    from keel.config import get_model
    from keel.evaluation.experiment.report import with_current_names
    from keel.window import now_utc, parse_time
    from keel.workspace import Workspace

    config = get_model(model)
    with Workspace.open() as ws:
        found = _chosen(ws.store, config.model, experiment_id)
        until, stored = parse_time(end), found.outcome and ws.store.reports.get(str(found.outcome["report_id"]))
        if stored and until is None:
            return found, with_current_names(stored["body"]), ws.home
        evidence = rollout.evaluate_experiment(ws, config, found.plan, end=until or now_utc()).to_dict()
        looks = ws.store.reports.list(config.model, "experiment", version=found.plan.challenger, limit=None)
        mine = [each["body"] for each in looks if each["body"].get("experiment_id") == found.plan.experiment_id]
        return found, evidence | {"path": mine[0].get("path") or [] if mine else []}, ws.home


@app.command("list")
def list_(model: ModelArgument, as_json: JsonOption = False) -> None:
    """List a model's experiments, newest first, with their results."""
    from keel.config import get_model
    from keel.deployments.experiments import list_all
    from keel.workspace import Workspace

    name = get_model(model).model
    with Workspace.open() as ws:
        found = list_all(ws.store, name)
    if as_json:
        print_json([each.to_dict() for each in found])
    elif found:
        print_table(HEAD, [cells(each) for each in found])
    else:
        typer.echo(f"{name} has no experiments; to start one: keel experiment start {name} --reason …")


def cells(each: Experiment) -> tuple[str, ...]:
    """Return an experiment's cells, in the order of ``HEAD``."""
    plan, outcome = each.plan, each.outcome or {}
    shares = ", ".join(f"{100 * stage.share:.3g} %" for stage in plan.stages)
    return (
        plan.experiment_id,
        f"{plan.challenger} against {plan.champion}",
        shares or plan.mode,
        f"{plan.started_at:%Y-%m-%d %H:%M}",
        outcome.get("outcome") or each.status,
        one_line(str(outcome.get("sentence") or "")),
    )


def _chosen(store: Any, model: str, experiment_id: str | None) -> Experiment:
    """Return the experiment of that id; without an id the running one, else the newest."""
    from keel.deployments import experiments
    from keel.errors import UnknownExperiment

    if experiment_id is not None:
        return experiments.get(store, model, experiment_id)
    known = experiments.list_all(store, model)
    if not known:
        raise UnknownExperiment(f"{model} has no experiments; to start one: keel experiment start {model} --reason …")
    return next((each for each in known if each.outcome is None), known[0])


def _print_evidence(found: Experiment, evidence: Mapping[str, Any]) -> None:
    plan, arms = found.plan, (evidence["champion"], evidence["challenger"])
    verdict = found.outcome["sentence"] if found.outcome else f"{plan.experiment_id} runs. {evidence['sentence']}"
    typer.echo(one_line(verdict))
    measures = (
        ("outcomes evaluated", "n"),
        (f"mean {evidence['loss']}", "mean_loss"),
        ("rows assigned", "assigned"),
        ("labels matured", "matured"),
        ("labels received", "labelled"),
        ("rows excluded", "unusable"),
    )
    rows = [(name, *(_number(arm[key]) for arm in arms)) for name, key in measures]
    print_table(("", f"champion {plan.champion}", f"challenger {plan.challenger}"), rows)
    improvement, lower, upper = (evidence[name] for name in ("improvement", "lower_bound", "upper_bound"))
    text = f"improvement {_number(improvement)}"
    if lower is not None:
        text += f", from {_number(lower)} to {_number(upper)}"
    method, mature = evidence["method"].replace("_", " "), evidence["matured_until"][:16].replace("T", " ")
    outcomes = f"{evidence['n']:,} of at most {plan.max_outcomes:,} outcomes"
    rules = f"{method}, alpha {plan.alpha:g}, {outcomes}, matured until {mature}"
    if found.outcome is None:
        rules += f", ends at {plan.ends_at:%Y-%m-%d %H:%M} at the latest"
    typer.echo(one_line(f"{text}; it must exceed {evidence['margin']:g} ({rules})"))


def _number(value: float | None) -> str:
    if value is None:
        return "not known yet"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"

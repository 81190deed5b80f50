"""``keel maintain``: what the DAG ``keel.maintenance`` does every night, by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keel.cli.output import JsonOption, Progress, print_json

if TYPE_CHECKING:
    from datetime import datetime

    from keel.config import ModelConfig
    from keel.errors import KeelError
    from keel.workspace import Workspace


def maintain(
    model: Annotated[str, typer.Argument(help="A configured model; none: all.")] = "", as_json: JsonOption = False
) -> None:
    """Look after the ledger, MLflow's aliases, old versions, old rows and the store, as every night; tell nobody.

    One model's failure does not keep the others from being looked after; the exit code is that of the first.
    """
    from keel import maintenance as upkeep
    from keel.config import get_model, load_models
    from keel.window import now_utc
    from keel.workspace import Workspace

    configs = [get_model(model)] if model else list(load_models().values())
    now = now_utc()
    with Workspace.open() as ws, Progress(quiet=as_json) as tell:
        tell("verifying the ledger")
        done: dict[str, Any] = {"ledger": upkeep.verify_ledger(ws, now=now), "models": {}}
        failed: list[KeelError] = []
        for config in configs:
            tell(f"looking after {config.model}")
            done["models"][config.model] = looked_after(ws, config, now, failed)
        tell("compacting and verifying the store")
        done["store"] = {**upkeep.compact(ws), **upkeep.verify_store(ws)}
    if as_json:
        print_json(done)
    else:
        typer.echo("\n".join(sentences(done)))
    if failed:
        raise typer.Exit(failed[0].exit_code)


def looked_after(ws: Workspace, config: ModelConfig, now: datetime, failed: list[KeelError]) -> dict[str, Any]:
    """Return what each step on one model gave; one that fails gives its error, which is added to ``failed``."""
    from getpass import getuser

    from keel import maintenance as upkeep
    from keel import rollout
    from keel.errors import KeelError

    actor, run_id = getuser(), f"keel maintain {now.isoformat()}"
    steps: dict[str, Callable[[], dict[str, Any]]] = {
        "reconciled": lambda: rollout.reconcile(ws, config, actor=actor, run_id=run_id),
        "pruned": lambda: upkeep.prune(ws, config, now=now, actor=actor, run_id=run_id),
        "expired": lambda: upkeep.expire_rows(ws, config, now=now),
    }
    done = {}
    for name, step in steps.items():
        try:
            done[name] = step()
        except KeelError as error:
            failed.append(error)
            done[name] = {"error": str(error), "kind": type(error).__name__}
    return done


def sentences(done: dict[str, Any]) -> list[str]:
    """Return what was done, for people."""
    signed = f", signed as {done['ledger']['signed']}" if done["ledger"]["signed"] else ""
    said = [f"The ledger's {done['ledger']['entries']:,} rows hold{signed}."]
    for model, steps in done["models"].items():
        said += [f"{model}: {step['error']}" for step in steps.values() if "error" in step]
        said += [f"{model}: {finding}" for finding in steps["reconciled"].get("findings", ())]
        said += [f"{model}: deleted version {each['version']}" for each in steps["pruned"].get("deleted", ())]
        said += [steps["expired"]["sentence"]] if "sentence" in steps["expired"] else []
    before, after = (done["store"][name] / 2**20 for name in ("bytes_before", "bytes_after"))
    return [*said, f"The store fits together; its size is {after:,.1f} MB, and was {before:,.1f} MB."]

"""``keel maintenance``: the work of the nightly DAG ``keel.maintenance``, run now."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from keel.cli.output import JsonOption, Progress, print_json

if TYPE_CHECKING:
    from datetime import datetime

    from keel.config import ModelConfig
    from keel.errors import KeelError
    from keel.monitoring.records import Record
    from keel.workspace import Workspace


def maintenance(
    model: Annotated[str, typer.Argument(help="A configured model. Default: every model.")] = "",
    as_json: JsonOption = False,
) -> None:
    """Run the nightly maintenance now, without notifications.

    It verifies the ledger, reconciles MLflow's aliases, deletes old versions, rows and published reports, and compacts
    and verifies the store. If one model fails, or its model.yaml is not valid, the others are still maintained. The
    exit code is that of the first failure.
    """
    from keel.config import get_model, read_models
    from keel.maintenance import compact, verify_ledger, verify_store
    from keel.window import now_utc
    from keel.workspace import Workspace

    configs, invalid = ({model: get_model(model)}, []) if model else read_models()
    now = now_utc()
    with Workspace.open() as ws, Progress(quiet=as_json) as progress:
        progress("verifying the ledger")
        done: dict[str, Any] = {"ledger": verify_ledger(ws, now=now).to_dict(), "models": {}}
        failed: list[KeelError] = []
        for config in configs.values():
            progress(f"maintaining {config.model}")
            done["models"][config.model] = maintain_model(ws, config, now, failed)
        progress("compacting and verifying the store")
        done["store"] = {**compact(ws).to_dict(), **verify_store(ws).to_dict()}
    done["invalid"] = [str(error) for error in invalid]
    failed += invalid
    if as_json:
        print_json(done)
    else:
        typer.echo("\n".join(summary(done)))
    if failed:
        raise typer.Exit(failed[0].exit_code)


def maintain_model(ws: Workspace, config: ModelConfig, now: datetime, failed: list[KeelError]) -> dict[str, Any]:
    """Return the result of each maintenance step of one model; the error of a failed step is added to ``failed``."""
    from getpass import getuser

    from keel import rollout
    from keel.errors import KeelError
    from keel.maintenance import expire_rows, prune
    from keel.reports import publication

    actor, run_id = getuser(), f"keel maintenance {now.isoformat()}"
    steps: dict[str, Callable[[], Record]] = {
        "reconciled": lambda: rollout.reconcile(ws, config, actor=actor, run_id=run_id),
        "pruned": lambda: prune(ws, config, now=now, actor=actor, run_id=run_id),
        "expired": lambda: expire_rows(ws, config, now=now),
        "reports": lambda: publication.expire(ws, config, now=now),
    }
    done = {}
    for name, step in steps.items():
        try:
            done[name] = step().to_dict()
        except KeelError as error:
            failed.append(error)
            done[name] = {"error": str(error), "kind": type(error).__name__}
    return done


def summary(done: dict[str, Any]) -> list[str]:
    """Return the results as sentences."""
    signed = f", signed as {done['ledger']['signed']}" if done["ledger"]["signed"] else ""
    lines = [f"The ledger's {done['ledger']['entries']:,} rows are verified{signed}."]
    for model, steps in done["models"].items():
        lines += [f"{model}: {step['error']}" for step in steps.values() if "error" in step]
        lines += [f"{model}: {finding}" for finding in steps["reconciled"].get("findings", ())]
        lines += [f"{model}: deleted version {each['version']}" for each in steps["pruned"].get("deleted", ())]
        lines += [steps["expired"]["sentence"]] if "sentence" in steps["expired"] else []
        lines += [steps["reports"]["sentence"]] if steps["reports"].get("deleted") else []
    lines += [f"Not maintained: {error}" for error in done["invalid"]]
    before, after = (done["store"][name] / 2**20 for name in ("bytes_before", "bytes_after"))
    return [*lines, f"The store is consistent. Its size is {after:,.1f} MB; it was {before:,.1f} MB."]

"""Rows of an experiment as the scoring service writes them, without the service."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from keel.evaluation.experiment.plan import assign_many


def serve(ws, config, plan, rows, *, labels=True, challenger_share=None):
    """Answer rows as an experiment says, log them, and let their labels come when they are due.

    challenger_share: what the challenger gets in truth, where that is not what is stated.
    """
    times = rows["time"].to_numpy().astype("datetime64[us]")
    ids = rows["id"].to_pylist()
    chosen, probability = assign_many(plan, ids, times)
    if challenger_share is not None:
        chosen = np.random.default_rng(0).random(len(ids)) < challenger_share
    outputs = {v: ws.registry.load(config, v).score(rows) for v in (plan.champion, plan.challenger)}
    (score, decided), (other, its_decision) = outputs[plan.champion], outputs[plan.challenger]
    shadow = plan.mode == "shadow"
    columns = {
        "version": np.where(chosen, plan.challenger, plan.champion),
        "score": np.where(chosen, other, score),
        "prediction": np.where(chosen, its_decision, decided),
        "entity": ids,
        "experiment": [plan.experiment_id] * len(ids),
    }
    if shadow:
        columns |= {
            "shadow_version": [plan.challenger] * len(ids), "shadow_score": other, "shadow_prediction": its_decision,
        }  # fmt: skip
    else:
        columns |= {"arm": np.where(chosen, "challenger", "champion"), "allocation": probability}
    answered = rows.drop_columns(["label"])
    for name, values in columns.items():
        answered = answered.append_column(name, pa.array(values))
    log = ws.predictions(config)
    log.append(answered)
    if labels:
        due = pa.array(times + np.timedelta64(config.target.label_delay), pa.timestamp("us", "UTC"))
        log.add_labels(pa.table({"id": rows["id"], "label": rows["label"], "observed_at": due}))

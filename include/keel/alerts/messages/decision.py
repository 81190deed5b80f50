"""The message about a decision: the sentence first, then the evidence somebody would ask for next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keel.config import ModelConfig

TOP_FEATURES = 5
HEADLINES = {
    "offered": "version {version} waits for approval",
    "declined": "the new version was declined, version {version} stays",
    "rolled_back": "went back to version {version}",
    "confirmed": "version {version} has survived its probation",
    "probation_over": "the probation of version {version} is over, and has not shown it to be harmless",
    "experiment_ended": "the experiment has ended without a verdict",
    "start_experiment": "an experiment has begun",
    "stop_experiment": "the experiment was stopped",
    "end_experiment": "the experiment has ended",
    "watch": "needs a look",
    "promote": "was to be promoted",
    "rollback": "was to be taken back",
    "promoted": "retrained and promoted version {version}",
    "kept_champion": "retrained, kept champion {version}",
    "quarantined": "data set aside",
    "released": "data is broken, and was released",
    "raise_alert": "needs a look",
    "retrain": "is being retrained",
    "quarantine": "data is broken",
}
REPEATED = frozenset({"raise_alert", "quarantine", "watch"})
"""What every check finds again for as long as its cause lies in the lookback: told once per alert cooldown. A retrain
has a cooldown of its own."""

CHANGES = frozenset({"rolled_back", "confirmed", "probation_over"})
"""What a look at a version on probation led to is told whatever was told before."""

SCHEDULE = "airflow"
"""Who is said to have asked where no person has."""


def compose_alert(
    config: ModelConfig,
    decision: Mapping[str, Any],
    outcome: Mapping[str, Any] | None,
    reports: Mapping[str, Mapping[str, Any] | None],
    told: Iterable[Mapping[str, Any]],
    *,
    run_url: str | None,
) -> dict[str, Any]:
    """Return subject, text and addressees, or ``{}`` when there is nothing to say.

    Nothing is said when all is clear, and when an alert, or data set aside, for the same causes was told within the
    model's alert cooldown. What came of a version, such as a promotion or a rollback, is always told.
    """
    if decision["action"] == "all_clear":
        return {}
    changed = outcome is not None and outcome["outcome"] in CHANGES
    if not changed and decision["action"] in REPEATED and _told_lately(config, decision, told):
        return {}
    headline = HEADLINES[outcome["outcome"] if outcome else decision["action"]]
    if decision["action"] in ("promote", "end_experiment"):  # nobody has trained for it
        headline = headline.removeprefix("retrained and ").removeprefix("retrained, ")
    version = (outcome or {}).get("version") or decision["version"]
    return {
        "subject": f"[Keel] {config.model}: {headline.format(version=version)}",
        "text": "\n".join(_paragraphs(config, decision, outcome, reports, run_url)),
        "email": list(config.alerts.email),
        "slack": config.alerts.slack,
    }


def _paragraphs(
    config: ModelConfig,
    decision: Mapping[str, Any],
    outcome: Mapping[str, Any] | None,
    reports: Mapping[str, Mapping[str, Any] | None],
    run_url: str | None,
) -> list[str]:
    lines = [decision["sentence"]]
    if outcome:
        lines += ["", outcome["sentence"]] if outcome["sentence"] != decision["sentence"] else []
    lines += [line for finding in decision.get("findings", ()) if finding not in lines for line in ("", finding)]
    lines += ["", f"Model    {config.model} (owner: {config.owner})", f"Window   {_span(decision['window'])}"]
    lines += [f"Version  {_versions(decision, outcome)}", *_left_out(reports.get("quality"))]
    if decision.get("requested_by") not in (None, "", SCHEDULE):
        lines.append(f"Asked by {decision['requested_by']}")
    lines += _comparison(outcome) + _top_features(reports.get("drift")) + _metrics(reports.get("performance"))
    links = [
        ("Run      ", run_url),
        ("MLflow   ", (outcome or {}).get("mlflow_run_id")),
        ("Runbook  ", config.alerts.runbook),
    ]
    found = [f"{label}{value}" for label, value in links if value]
    return [*lines, *([""] if found else []), *found, ""]


def _left_out(quality: Mapping[str, Any] | None) -> list[str]:
    left = (quality or {}).get("set_aside", {})
    return [f"Left out {left['rows']:,} rows of {left['hours']} h set aside before"] if left.get("hours") else []


def _comparison(outcome: Mapping[str, Any] | None) -> list[str]:
    if not outcome or outcome.get("lower_bound") is None:
        return []
    if outcome.get("basis") == "experiment":
        return [
            "",
            f"In the experiment {_span(outcome['holdout'])} ({outcome['n']:,} outcomes), mean {outcome['loss']}:",
            f"  champion   version {outcome['champion']}: {outcome['champion_value']:.4f}",
            f"  challenger version {outcome['challenger']}: {outcome['challenger_value']:.4f}",
            f"  improvement {outcome['improvement']:+.4f}, lower bound {outcome['lower_bound']:+.4f}"
            f" (must exceed {outcome['margin']:g})",
        ]
    looks = outcome.get("prior_comparisons") or 0
    plural = "s" if looks > 1 else ""
    again = f"  Rows of it have judged {looks} challenger{plural} before: the bound is stricter for it"
    return [
        "",
        f"On the holdout {_span(outcome['holdout'])} ({outcome['n']:,} labelled rows neither version has seen):",
        f"  champion   version {outcome['champion']}: {outcome['metric']} {outcome['champion_value']:.4f}",
        f"  challenger version {outcome['challenger']}: {outcome['metric']} {outcome['challenger_value']:.4f}",
        f"  improvement {outcome['improvement']:+.4f}, lower bound {outcome['lower_bound']:+.4f}"
        f" (must exceed {outcome['margin']:g})",
        *([again] if looks else []),
    ]


def _top_features(drift: Mapping[str, Any] | None) -> list[str]:
    if not drift:
        return []
    moved = [(name, f) for name, f in drift["features"].items() if f["severity"] in ("drift", "warn")]
    if not moved:
        return ["", f"Inputs: none has moved beyond its threshold ({drift['n']:,} rows)."]
    width = max(len(name) for name, _ in moved[:TOP_FEATURES])
    lines = ["", f"Columns that moved most ({len(moved)} of {len(drift['features'])}, {drift['n']:,} rows):"]
    lines += [f"  {name:<{width}}  {f['status']:<8} {describe_feature(f)}" for name, f in moved[:TOP_FEATURES]]
    return lines


def describe_feature(feature: Mapping[str, Any]) -> str:
    """Say a feature's measures in a line.

    >>> describe_feature({"measures": {"psi": {"value": 0.4, "excess": 0.39}}, "impact": 0.01, "missing_rate": 0.0})
    'PSI 0.400, impact +0.0100'
    """
    measures: Mapping[str, Any] = feature["measures"]
    said = []
    if psi := measures.get("psi"):
        said.append(f"PSI {psi['value']:.3f}")
    if ks := measures.get("ks"):
        said.append(f"KS {ks['statistic']:.3f}")
    if chi := measures.get("chi_square"):
        said.append(f"χ² {chi['statistic']:.1f}")
    if (shift := measures.get("wasserstein")) and shift.get("value") is not None:
        said.append(f"shift {shift['value']:.2f} IQR")
    if feature.get("missing_rate"):
        said.append(f"{feature['missing_rate']:.1%} missing")
    if feature.get("impact") is not None:
        said.append(f"impact {feature['impact']:+.4f}")
    return ", ".join(said) or "; ".join(feature.get("reasons", ()))


def _metrics(performance: Mapping[str, Any] | None) -> list[str]:
    if not performance or not performance["current"]:
        return []
    lines = ["", f"Performance on {performance['n']:,} labels, holdout in brackets:"]
    for name, now in performance["current"].items():
        then = performance["reference"].get(name, {}).get("value")
        if now["value"] is not None and then is not None:
            lines.append(f"  {name:<9} {now['value']:.4f} ({then:.4f})")
    return lines


def _told_lately(config: ModelConfig, decision: Mapping[str, Any], told: Iterable[Mapping[str, Any]]) -> bool:
    """Whether all that gave rise to this was told within the cooldown, so that nobody hears it every 6 hours.

    An alert about one thing does not keep another quiet: harm is told though a drift was told an hour before.
    """
    end = datetime.fromisoformat(decision["window"]["end"])
    heard = [
        set(past["body"]["about"])
        for past in told
        if past["action"] == decision["action"]
        and past["version"] == decision["version"]
        and end - config.alerts.cooldown < past["window_end"] <= end
        and (past.get("outcome") or {}).get("told")
    ]
    return bool(heard) and set(decision["about"]) <= set().union(*heard)


def _versions(decision: Mapping[str, Any], outcome: Mapping[str, Any] | None) -> str:
    if outcome and outcome["outcome"] == "rolled_back":
        return f"{outcome['version']} in production, {outcome.get('taken_back', decision['version'])} was taken back"
    if not outcome or "challenger" not in outcome:
        return f"{decision['version']} in production"
    if outcome["challenger"] == outcome["champion"]:
        return f"{outcome['champion']} in production, no other was made"
    if outcome["outcome"] == "promoted":
        return f"{outcome['challenger']} in production, before it {outcome['champion'] or 'none'}"
    if outcome["outcome"] == "offered":
        return f"{outcome['champion']} in production, {outcome['challenger']} staged"
    return f"{outcome['champion']} in production, challenger {outcome['challenger']} turned down"


def _span(window: Mapping[str, Any]) -> str:
    start, end = (datetime.fromisoformat(window[part]) for part in ("start", "end"))
    return f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC"


def recipients(emails: Sequence[str]) -> str:
    """Return a To: header's value; mails without any addressee say so.

    >>> recipients([])
    'undisclosed-recipients:;'
    """
    return ", ".join(emails) or "undisclosed-recipients:;"

"""``keel detect``: compare two files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from keel.cli.output import JsonOption, print_json
from keel.cli.pages import HtmlOption, MarkdownOption, OpenOption, show_page

DRIFTED = 1
"""Exit code of drift in any column, of worse predictions, and of too few rows, which do not show "no drift"."""


def detect(
    reference: Annotated[str, typer.Argument(help="A Parquet or CSV file: what the data is expected to be like.")],
    current: Annotated[str, typer.Argument(help="A Parquet or CSV file: the data now.")],
    target: Annotated[str | None, typer.Option(help="The column of the label.")] = None,
    score: Annotated[str | None, typer.Option(help="The column of the probability or predicted value.")] = None,
    prediction: Annotated[str | None, typer.Option(help="The column of the decision or predicted value.")] = None,
    time: Annotated[str | None, typer.Option(help="The column of the rows' times.")] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(help="COLUMN=numeric, =categorical or =ignore, where the inferred kind is wrong. Repeatable."),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", help="A threshold, such as alpha=0.01, psi_alert=0.2 or min_rows=100. Repeatable."),
    ] = None,
    metric: Annotated[str | None, typer.Option(help="Of the performance. Default: by the values.")] = None,
    max_degradation: Annotated[
        float | None, typer.Option(help="How much worse the performance may be, in the metric's units.")
    ] = None,
    html: HtmlOption = None,
    markdown: MarkdownOption = False,
    open_it: OpenOption = False,
    as_json: JsonOption = False,
) -> None:
    """Compare two files: which columns have drifted, and whether it hurts. No model and no store is needed.

    The exit code is 0 without drift, and 1 with a column that has drifted, with worse predictions, or with too few rows
    to tell.
    """
    from keel.errors import ConfigError, InsufficientData
    from keel.reports.detected import detect as compare
    from keel.reports.detected import thresholds

    settings: dict[str, Any] = {key: _value(text) for key, text in _pairs("--set", setting or []).items()}
    try:
        report = compare(
            reference,
            current,
            target=target,
            score=score,
            prediction=prediction,
            time=time,
            kinds=_pairs("--kind", kind or []),
            metric=metric,
            max_degradation=max_degradation,
            config=thresholds(None, settings),
        )
    except InsufficientData as error:  # nothing was compared, so 1, which says drift, would be wrong
        raise ConfigError(f"{reference}: {error}") from None
    if as_json:
        print_json(report.to_dict())
    if not as_json or html is not None or open_it:
        default = Path(f"{Path(current).stem}-drift.html")
        show_page(report.page(), html=html, markdown=markdown and not as_json, open_it=open_it, default=default)
    if (
        report.status in {"drift", "insufficient"}
        or report.degraded
        or any(c.severity == "drift" for c in report.columns)
    ):
        raise typer.Exit(DRIFTED)


def _pairs(option: str, texts: list[str]) -> dict[str, str]:
    """Return what ``NAME=VALUE`` texts say. A name may have a ``=`` of its own, a value has none."""
    from keel.errors import ConfigError

    pairs = {}
    for text in texts:
        name, sign, value = text.rpartition("=")
        if not (name and sign and value):
            raise ConfigError(f"{option} {text}: takes NAME=VALUE, such as {option} {_EXAMPLES[option]}")
        pairs[name] = value
    return pairs


_EXAMPLES = {"--kind": "carrier=categorical", "--set": "alpha=0.01"}


def _value(text: str) -> object:
    """Return a setting's value: a number where the text is one, so that a message shows what was typed."""
    from keel.values.scalars import number_in

    number = number_in(text)
    return text if number is None else int(number) if number.is_integer() else number

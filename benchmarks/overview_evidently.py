"""Fill a workspace of Evidently's UI, in the peers' environment: ``overview_evidently.py FOLDER PROJECTS REPORTS``.

Each project gets so many reports of 20 columns, as `DataDriftPreset` makes them. They are copies of one report, each
with an id of its own. Prints the ids of the projects as one line of JSON.
"""

from __future__ import annotations

import json
import sys
import uuid
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from evidently import Dataset, Report
from evidently.presets import DataDriftPreset
from evidently.ui.workspace import Workspace

ROWS, COLUMNS, CATEGORICAL = 2_000, 20, 6


def table(seed: int) -> pd.DataFrame:
    """Return rows of 20 columns, of which six are categorical."""
    rng = np.random.default_rng(seed)
    texts = {f"c{i:02}": rng.choice(["red", "green", "blue"], ROWS) for i in range(CATEGORICAL)}
    return pd.DataFrame(texts | {f"c{i:02}": rng.normal(size=ROWS) for i in range(CATEGORICAL, COLUMNS)})


def main() -> None:
    folder, projects, reports = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    warnings.filterwarnings("ignore")
    made = Report([DataDriftPreset()]).run(Dataset.from_pandas(table(1)), Dataset.from_pandas(table(0)))
    workspace = Workspace.create(folder)
    first = workspace.create_project("model_000")
    workspace.add_run(first.id, made)
    [template] = (Path(folder) / str(first.id) / "snapshots").glob("*.json")
    content = template.read_text()
    ids = [str(first.id)]
    for number in range(1, projects):
        ids.append(str(workspace.create_project(f"model_{number:03}").id))
    for number, project in enumerate(ids):
        for _ in range(reports - (number == 0)):
            # add_run takes a second for each, because it serialises the report anew
            identity = str(uuid.uuid4())
            file = Path(folder) / project / "snapshots" / f"{identity}.json"
            file.parent.mkdir(exist_ok=True)
            file.write_text(content.replace(template.stem, identity))
    print(json.dumps(ids))


if __name__ == "__main__":
    main()

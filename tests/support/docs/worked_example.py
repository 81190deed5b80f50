"""Docs/adding-a-model.md's example: its files, and its script in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.paths import PROJECT

PAGE = PROJECT / "docs" / "adding-a-model.md"
FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE)
SECONDS = 300


def run(folder: Path) -> subprocess.CompletedProcess[str]:
    """Write the example's model below ``folder / "models"``, and run its script with ``folder / "home"`` as home."""
    found = [(each["info"], each["body"]) for each in FENCE.finditer(PAGE.read_text(encoding="utf-8"))]
    files = {info.split()[1]: body for info, body in found if "/" in info}
    assert set(files) == {"churn/model.yaml", "churn/pipeline.py"}
    models = folder / "models"
    for name, body in {**files, "churn/__init__.py": ""}.items():
        (models / name).parent.mkdir(parents=True, exist_ok=True)
        (models / name).write_text(body)
    steps = [body for info, body in found if info == "python run"]
    script = "\n".join(["import models", f"models.__path__.append({str(models)!r})", *steps])
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("KEEL_", "MLFLOW_"))} | {
        "KEEL_HOME": str(folder / "home"),
        "KEEL_MODELS_FOLDER": str(models),
        "PYTHONPATH": str(PROJECT / "include"),
    }
    return subprocess.run(
        [sys.executable, "-c", script], env=environment, cwd=folder, capture_output=True, text=True, timeout=SECONDS
    )

"""The floors hold, and the core knows no Airflow."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support.paths import PROJECT


def run(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(PROJECT / "include")}
    return subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=180)


def test_importing_all_of_keel_imports_no_airflow() -> None:
    code = """
import importlib, pkgutil, sys
import keel
names = [m.name for m in pkgutil.walk_packages(keel.__path__, "keel.") if ".migrations." not in m.name]
for name in names:
    importlib.import_module(name)
found = sorted(name for name in sys.modules if name.split(".")[0].startswith("airflow"))
assert not found, found
print(len(names))
"""
    done = run(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 30


def test_what_dag_files_may_import_is_light() -> None:
    code = """
import sys
import keel, keel.config, keel.errors
heavy = {"mlflow", "pandas", "scipy", "sklearn", "pyarrow", "numpy", "sqlalchemy"} & set(sys.modules)
assert not heavy, heavy
"""
    done = run(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr


def test_the_command_line_starts_without_what_only_its_commands_need() -> None:
    code = """
import sys
import keel.cli.main
heavy = {"mlflow", "pandas", "scipy", "sklearn", "pyarrow", "numpy"} & set(sys.modules)
assert not heavy, heavy
"""
    done = run(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr


def test_a_room_imports_only_from_the_floors_below_its_own() -> None:
    done = run(str(Path(sys.executable).parent / "lint-imports"), "--no-cache")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_public_names_load_on_demand() -> None:
    import keel

    for name in keel.__all__:
        assert getattr(keel, name).__name__ == name

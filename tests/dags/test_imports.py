"""The cost and the side effects of imports, each measured in a process of its own."""

from __future__ import annotations

import functools
import json
import subprocess
import sys

import pytest

from tests.dags.conftest import project_environment
from tests.support.airflow.dag_bag import DAGS

HEAVY = ("mlflow", "pandas", "scipy", "sklearn", "pyarrow")
PARSE = f"""
import json, sys
from pathlib import Path
from airflow.dag_processing.dagbag import DagBag
files, found, dags = sorted(Path(sys.argv[1]).glob("*.py")), {{}}, {{}}
for file in files:
    bag = DagBag(file)
    heavy = sorted(name for name in {HEAVY!r} if name in sys.modules)
    found[file.stem] = [heavy, sorted(bag.dags), bag.import_errors]
    dags |= bag.dags
from airflow.models.serialized_dag import SerializedDagModel
from airflow.serialization.serialized_objects import DagSerialization
hashes = {{i: SerializedDagModel.hash(DagSerialization.to_dict(dag)) for i, dag in dags.items()}}
print("RESULT" + json.dumps([found, hashes]))
"""
IMPORT_ALL_OF_KEEL = """
import importlib, json, pkgutil, sys
import keel
imported = []
for module in pkgutil.walk_packages(keel.__path__, "keel."):
    if ".migrations" not in module.name:  # run by Alembic, and only inside it
        importlib.import_module(module.name)
        imported.append(module.name)
airflow = sorted(name for name in sys.modules if name == "airflow" or name.startswith("airflow."))
print("RESULT" + json.dumps([imported, airflow]))
"""
LOAD_PLUGINS = """
import json, sys
import statistics
from airflow import plugins_manager
plugins, errors = plugins_manager._get_plugins()
print("RESULT" + json.dumps([
    sorted(p.name for p in plugins if str(p.source).startswith("$PLUGINS_FOLDER")), errors,
    sorted(name for name in sys.modules if name in {"policy", "assets", "hooks", "base"}),
]))
"""


def run(program: str, *arguments: str, **environment: str):
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, env=project_environment(**environment), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.partition("RESULT")[2])


@functools.cache
def parse(seed: str):
    """Parse the DAG files one after another, in one process with this hash seed."""
    return run(PARSE, str(DAGS), PYTHONHASHSEED=seed)


@pytest.mark.parametrize("file", sorted(file.stem for file in DAGS.glob("*.py")))
def test_parsing_a_dag_file_imports_nothing_heavy(file):
    heavy, dags, errors = parse("1")[0][file]

    assert heavy == []
    assert errors == {}
    of_no_model = {
        "model_configuration": [],
        **{name: [f"keel.{name}"] for name in ("alerts", "maintenance", "test_message")},
    }
    assert dags == of_no_model.get(file, [f"tide.{file}"])


def test_parsing_twice_gives_the_same_dags():
    first, second = (parse(seed)[1] for seed in ("1", "2"))

    assert first == second
    assert set(first) == {
        "keel.alerts",
        "keel.maintenance",
        "keel.test_message",
        "tide.benchmark",
        "tide.drift_check",
        "tide.experiment",
        "tide.promote",
        "tide.retrain",
        "tide.rollback",
        "tide.watch_deployment",
    }


def test_importing_the_core_imports_no_airflow():
    imported, airflow = run(IMPORT_ALL_OF_KEEL)

    assert airflow == []
    assert {"keel.loop", "keel.workspace", "keel.store", "keel.cli"} <= set(imported)


def test_plugin_loader_imports_the_plugin_alone():
    plugins, errors, stray = run(LOAD_PLUGINS)

    assert (plugins, errors, stray) == (["keel"], {}, [])

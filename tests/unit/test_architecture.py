"""The layers hold, files import each other in one direction only, and the core imports no Airflow."""

from __future__ import annotations

import os
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

from tests.support.paths import PROJECT

MOST_MODULES_AT_THE_ROOT = 6
MOST_FILES_IN_A_FOLDER = 18


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
    assert int(done.stdout) > 200


def test_what_dag_files_may_import_is_light() -> None:
    code = """
import sys
import keel, keel.config, keel.errors, keel.monitoring.records
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


@pytest.mark.parametrize("package", ["keel", "keel_airflow"])
def test_imports_of_files_form_no_circle(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counts the imports for type checkers and those inside functions."""
    for folder in ("include", "plugins"):
        monkeypatch.syspath_prepend(str(PROJECT / folder))
    graph = grimp.build_graph(package, exclude_type_checking_imports=False, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert len(imports) > 15
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        pytest.fail(f"circle of imports: {' <- '.join(error.args[1])}")


def test_the_root_of_keel_has_few_modules() -> None:
    modules = sorted(file.name for file in (PROJECT / "include/keel").glob("*.py"))
    assert len(modules) <= MOST_MODULES_AT_THE_ROOT, modules


@pytest.mark.parametrize("root", ["include", "plugins", "tests"])
def test_folders_have_few_files(root: str) -> None:
    folders = [PROJECT / root, *(path for path in (PROJECT / root).rglob("*") if path.is_dir())]
    sizes = {str(folder.relative_to(PROJECT)): len(list(folder.glob("*.py"))) for folder in folders}
    assert {name: size for name, size in sizes.items() if size > MOST_FILES_IN_A_FOLDER} == {}


def test_a_package_imports_only_from_the_layers_below_its_own() -> None:
    done = run(str(Path(sys.executable).parent / "lint-imports"), "--no-cache")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_public_names_load_on_demand() -> None:
    import keel

    for name in keel.__all__:
        assert getattr(keel, name).__name__ == name


def test_no_package_hides_a_module_behind_a_name_of_its_own() -> None:
    """``from package import name`` must mean one thing: the module, where there is one of that name."""
    code = """
import importlib, pkgutil, types
import keel
names = [m.name for m in pkgutil.walk_packages(keel.__path__, "keel.") if ".migrations." not in m.name]
for name in names:
    importlib.import_module(name)
homes = [(importlib.import_module(name.rpartition(".")[0]), name.rpartition(".")[2]) for name in names]
hidden = [f"{home.__name__}.{leaf}" for home, leaf in homes if not isinstance(getattr(home, leaf), types.ModuleType)]
# The other way round: whichever is imported last.
hidden += [f"{home.__name__}.{leaf}" for home, leaf in homes if leaf in getattr(home, "__all__", ())]
assert not hidden, hidden
"""
    done = run(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr

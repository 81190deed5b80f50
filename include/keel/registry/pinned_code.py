"""Store the project's own code with a version that needs it, and load the version with that code.

An estimator may contain classes and functions of the project's ``models`` package. Its answers would otherwise change
when the next deployment changes them. MLflow stores the code in the folder ``code`` of the model, which is pinned like
every file. MLflow's own loader imports it under the names of the project's modules, so two versions of one process,
or a version and the project, would share whatever was imported first. Here each loaded version has modules of its own.
"""

from __future__ import annotations

import builtins
import shutil
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from keel.registry.project_code import sources_of

FOLDER = "code"
"""Where MLflow stores a model's code."""
_swapping = threading.RLock()


def copy_code(types: Iterable[str], folder: Path) -> list[str]:
    """Copy the code that defines ``types`` (``package.module.Name``) into ``folder``, with what it imports.

    Returns the top-level packages and modules there.
    """
    modules = {name.rpartition(".")[0] for name in types}
    for name, file in sources_of(sorted(modules)).items():
        path = folder.joinpath(*name.split("."))
        target = path / file.name if file.name == "__init__.py" else path.with_suffix(".py")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    return sorted(str(path) for path in folder.iterdir())


@contextmanager
def own_code(model: Path) -> Iterator[None]:
    """Let what is imported inside the with block come from the code of the MLflow model in a folder, if it has any.

    Afterwards the project's own modules are importable again. Imports that the version's functions make when they are
    called still find the version's code.
    """
    code = _Code.read(model / FOLDER)
    if code is None:
        yield
        return
    path = list(sys.path)
    with code.importable():
        try:
            yield
        finally:
            sys.path[:] = path  # to which MLflow adds the folder


class _Code(MetaPathFinder, Loader):
    """The modules of one version. Their sources are in memory, because the folder is deleted after loading."""

    def __init__(self, sources: dict[str, tuple[bytes, bool]]) -> None:
        self._sources = sources
        self._tops = {name.partition(".")[0] for name in sources}
        self._modules: dict[str, ModuleType] = {}

    @classmethod
    def read(cls, folder: Path) -> _Code | None:
        """Return the code in a folder, None if there is none."""
        sources = {}
        for file in folder.rglob("*.py"):
            parts = file.relative_to(folder).with_suffix("").parts
            is_package = parts[-1] == "__init__"
            sources[".".join(parts[:-1] if is_package else parts)] = (file.read_bytes(), is_package)
        return cls(sources) if sources else None

    @contextmanager
    def importable(self) -> Iterator[None]:
        """Replace the project's modules by these, one thread at a time."""
        with _swapping:
            theirs = {name: sys.modules.pop(name) for name in list(sys.modules) if self._covers(name)}
            sys.modules.update(self._modules)
            sys.meta_path.insert(0, self)
            try:
                yield
            finally:
                sys.meta_path.remove(self)
                self._modules = {name: sys.modules.pop(name) for name in list(sys.modules) if self._covers(name)}
                sys.modules.update(theirs)

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Find a module among the sources."""
        if name not in self._sources:
            return None
        return ModuleSpec(name, self, is_package=self._sources[name][1])

    def exec_module(self, module: ModuleType) -> None:
        """Run a module whose import statements, now and later, find these modules."""
        source, _ = self._sources[module.__name__]
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": self._import}
        exec(compile(source, f"<pinned {module.__name__}>", "exec"), vars(module))

    def _import(self, name: str, *arguments: Any, **keywords: Any) -> Any:
        level = arguments[3] if len(arguments) > 3 else keywords.get("level", 0)
        if level == 0 and not self._covers(name):
            return builtins.__import__(name, *arguments, **keywords)
        with self.importable():
            return builtins.__import__(name, *arguments, **keywords)

    def _covers(self, name: str) -> bool:
        return name.partition(".")[0] in self._tops

"""Store the project's own code with a version that needs it, and load the version with that code.

An estimator may contain classes and functions of the project's ``models`` package. Its answers would otherwise change
when the next deployment changes them. MLflow stores the code in the folder ``code`` of the model, which is pinned like
every file. MLflow's own loader imports it under the names of the project's modules, so two versions of one process,
or a version and the project, would share whatever was imported first. Here each loaded version has modules of its own.
Data files are not stored. Code that looks for one beside itself finds the file that is deployed.
"""

from __future__ import annotations

import builtins
import shutil
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.readers import FileReader
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from keel.registry.project_code import roots_of, sources_of

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


class _Source(NamedTuple):
    """The source of a module. place: the file that has or had this name in the project."""

    content: bytes
    is_package: bool
    place: Path


class _Code(MetaPathFinder, Loader):
    """The modules of one version. Their sources are in memory, because the folder is deleted after loading."""

    def __init__(self, sources: dict[str, _Source]) -> None:
        self._sources = sources
        self._tops = {name.partition(".")[0] for name in sources}
        self._modules: dict[str, ModuleType] = {}

    @classmethod
    def read(cls, folder: Path) -> _Code | None:
        """Return the code in a folder, None if there is none."""
        files = {file.relative_to(folder): file for file in folder.rglob("*.py")}
        # a folder without this file is a package, too
        packages = {parent / "__init__.py" for relative in files for parent in relative.parents if parent.name}
        sources = {}
        for relative in packages.union(files):
            parts = relative.with_suffix("").parts
            is_package = parts[-1] == "__init__"
            content = files[relative].read_bytes() if relative in files else b""
            place = _deployed(relative) or folder / relative
            sources[".".join(parts[:-1] if is_package else parts)] = _Source(content, is_package, place)
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
        source = self._sources[name]
        return ModuleSpec(name, self, origin=str(source.place), is_package=source.is_package)

    def exec_module(self, module: ModuleType) -> None:
        """Run a module whose import statements, now and later, find these modules."""
        source = self._sources[module.__name__]
        own = {**vars(builtins), "__import__": self._import}
        vars(module).update(__builtins__=own, __file__=str(source.place), __cached__=None)
        exec(compile(source.content, f"<pinned {module.__name__}>", "exec"), vars(module))

    def get_resource_reader(self, name: str) -> FileReader:
        """Let `importlib.resources` find the data files of a package."""
        return FileReader(SourceFileLoader(name, str(self._sources[name].place)))

    def get_data(self, path: str) -> bytes:
        """Let `pkgutil.get_data` read a data file."""
        return Path(path).read_bytes()

    def _import(self, name: str, *arguments: Any, **keywords: Any) -> Any:
        level = arguments[3] if len(arguments) > 3 else keywords.get("level", 0)
        if level == 0 and not self._covers(name):
            return builtins.__import__(name, *arguments, **keywords)
        with self.importable():
            return builtins.__import__(name, *arguments, **keywords)

    def _covers(self, name: str) -> bool:
        return name.partition(".")[0] in self._tops


def _deployed(relative: Path) -> Path | None:
    """Return where the project has a file of a version's code, or had it; None if it has no such package."""
    with _swapping:  # while no other version's package is in place of the project's
        places = [root / relative for root in roots_of(relative.parts[0].removesuffix(".py"))]
    return next((place for place in places if place.is_file()), places[0] if places else None)

"""Find the source files of the project that a module needs, without importing them."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from importlib.util import find_spec, resolve_name
from pathlib import Path


def sources_of(modules: Iterable[str]) -> dict[str, Path]:
    """Return the source files of modules and of what they import from their own top-level package, by module name.

    Imports inside of functions count, as do parent packages and relative imports. A name given to
    ``importlib.import_module`` does not, nor do other packages and files that are read as data. A module that does not
    exist is left out.
    """
    found: dict[str, Path] = {}
    for module in modules:
        top = module.partition(".")[0]
        roots, waiting = roots_of(top), [module]
        while waiting:
            name = waiting.pop()
            file = None if name in found else _file_of(roots, name)
            if file is None:
                continue
            found[name] = file
            package = name if file.name == "__init__.py" else name.rpartition(".")[0]
            imported = (other for other in _imports(file, package) if other.partition(".")[0] == top)
            waiting += [part for each in (name, *imported) for part in (each, *_parents(each))]
    return dict(sorted(found.items()))


def roots_of(top: str) -> list[Path]:
    """Return the folders that hold the top-level package or module."""
    try:
        spec = find_spec(top)
    except ValueError:  # a module without a spec, such as __main__
        return []
    if spec is None:
        return []
    return [Path(place).parent for place in (spec.submodule_search_locations or [spec.origin or ""])]


def _file_of(roots: Iterable[Path], name: str) -> Path | None:
    paths = [root.joinpath(*name.split(".")) for root in roots]
    return next((f for path in paths for f in (path / "__init__.py", path.with_suffix(".py")) if f.is_file()), None)


def _parents(name: str) -> Iterator[str]:
    while name := name.rpartition(".")[0]:
        yield name


def _imports(file: Path, package: str) -> Iterator[str]:
    """Yield every name that may be an imported module; ``from a import b`` names ``a`` and ``a.b``."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):  # its import fails, and says why
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            try:
                base = resolve_name("." * node.level + (node.module or ""), package)
            except ImportError:  # beyond the top-level package
                continue
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)

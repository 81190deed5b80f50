"""Import a model's pipeline, and describe the errors of its code."""

from __future__ import annotations

import traceback
from importlib import import_module
from pathlib import Path
from types import ModuleType

from keel.errors import ConfigError

_NOT_OWN = {"site-packages", "importlib"}
"""Folders in the paths of code that no team has written."""


def import_pipeline(module: str) -> ModuleType:
    """Import the module that ``retrain.pipeline`` names.

    Raises
    ------
    ConfigError
        It does not exist, or its import raised; the message names the module, the error and its place.

    """
    try:
        return import_module(module)
    except Exception as error:
        raise ConfigError(f"retrain.pipeline: {module!r} cannot be imported: {described(error)}") from error


def described(error: Exception) -> str:
    """Return an error of a team's own code with the file and line of that code, where it has one.

    >>> described(ValueError("no rows"))
    'ValueError: no rows'
    """
    calls = traceback.extract_tb(error.__traceback__)[1:]  # the first is Keel's
    own = [call for call in calls if not _NOT_OWN & set(Path(call.filename).parts) and Path(call.filename).is_file()]
    # a syntax error names its place itself
    place = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own and type(error) is not SyntaxError else ""
    return f"{type(error).__name__}: {error}{place}"

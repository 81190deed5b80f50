"""Load and render the templates of messages. A user's folder replaces single files.

A template is data from outside: it runs in a sandbox, sees plain values only, and a name that it misspells is an error.
A template of a user that fails is replaced by Keel's own, which says so, because the message matters more. It also says
so where a folder or a file is named in vain.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import (
    BaseLoader,
    ChoiceLoader,
    FileSystemLoader,
    PackageLoader,
    PrefixLoader,
    StrictUndefined,
    TemplateNotFound,
)
from jinja2.sandbox import ImmutableSandboxedEnvironment

from keel.errors import suggestion
from keel.reports import numbers
from keel.values.texts import CELL, is_web_address, shown

log = logging.getLogger(__name__)

FOLDER_VARIABLE = "KEEL_ALERT_TEMPLATES"
"""The environment variable that names the folder with a user's templates."""


def render(name: str, *, check: Callable[[str], object] | None = None, **values: Any) -> str:
    """Return the text of a template.

    Parameters
    ----------
    name
        Of the file, such as ``email.html.j2``. What is in a template ``*.html.j2`` is escaped.
    check
        Called with the text of a user's template. What it raises is a fault of that template, such as a text that is
        no JSON.
    values
        Plain values. ``template_problem`` is added: None, or why the user's template was not used.

    """
    folder = os.environ.get(FOLDER_VARIABLE)
    problem = _useless(folder) if folder else None
    try:
        if folder and (Path(folder) / name).is_file():
            text = _replaced(folder).get_template(name).render(template_problem=problem, **values)
            if check:
                check(text)
            return text
    except Exception as error:  # whatever a template does, people must get the message
        log.warning("the template %s in %s failed; the built-in one is used", name, folder, exc_info=True)
        problem = shown(f"The template {name} in {FOLDER_VARIABLE} failed: {_said(error)}", CELL)
    return _built_in().get_template(name).render(template_problem=problem, **values)


def _useless(folder: str) -> str | None:
    """Return why a user's folder, or a template in it, replaces nothing; None where all of it is of use.

    A file that replaces none of Keel's may be a part of another one, which then names it.
    """
    ours = _built_in().list_templates()
    try:
        files = [path for path in Path(folder).iterdir() if path.suffix == ".j2" or f"{path.name}.j2" in ours]
        texts = {path.name: path.read_bytes() for path in files if path.is_file()}
    except OSError as error:
        log.warning("the templates in %s=%s cannot be read: %s", FOLDER_VARIABLE, folder, error.strerror)
        return f"The folder that {FOLDER_VARIABLE} names cannot be read: {error.strerror}"
    named = {name for name in texts for other, text in texts.items() if name != other and name.encode() in text}
    strange = sorted(texts.keys() - {*ours} - named)
    if not strange:
        return None
    log.warning("%s in %s: no template of Keel's, and no part of one, has this name", ", ".join(strange), folder)
    problem = f"{', '.join(strange)} in {FOLDER_VARIABLE} replaces no template{suggestion(strange[0], ours)}"
    return shown(problem, CELL)


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


@lru_cache(maxsize=1)
def _built_in() -> ImmutableSandboxedEnvironment:
    return _environment(PackageLoader("keel.alerts", "templates"))


@lru_cache(maxsize=8)
def _replaced(folder: str) -> ImmutableSandboxedEnvironment:
    """Return an environment that looks into a user's folder first. A file that changes is read again.

    A user's template reaches the one that it replaces by ``keel/``, such as to add to it.
    """
    ours = PackageLoader("keel.alerts", "templates")
    return _environment(ChoiceLoader([FileSystemLoader(folder), ours, PrefixLoader({"keel": ours})]))


def _environment(loader: BaseLoader) -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        loader=loader,
        autoescape=lambda name: bool(name) and name.endswith((".html.j2", ".html")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["time"] = numbers.time
    environment.tests["web_address"] = is_web_address
    return environment


__all__ = ["FOLDER_VARIABLE", "TemplateNotFound", "render"]

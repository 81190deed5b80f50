"""The documents say what is there: commands, keys, variables, tests and links exist, and examples run."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic_core import PydanticUndefined

from keel.config import ModelConfig, load_model
from tests.support.docs import worked_example
from tests.support.paths import PROJECT

PAGES = [
    PROJECT / "README.md",
    PROJECT / "CHANGELOG.md",
    PROJECT / "CONTRIBUTING.md",
    *sorted(PROJECT.glob("docs/*.md")),
]
CONFIGURATION = PROJECT / "docs" / "configuration.md"
EXAMPLE = worked_example.PAGE
FENCE = worked_example.FENCE

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def prose_of(page: Path) -> str:
    return FENCE.sub("", text_of(page))


def blocks(page: Path, info: str) -> list[str]:
    return [block["body"] for block in FENCE.finditer(text_of(page)) if block["info"] == info]


def commands_in(page: Path) -> str:
    """What a reader may type: inline code, indented and fenced blocks."""
    text = text_of(page)
    return "\n".join([*re.findall(r"`([^`\n]+)`", text), *re.findall(r"^ {4,}(.+)$", text, re.MULTILINE)])


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.+)$", prose_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pages
def test_every_make_target_that_is_named_exists(page):
    targets = set(re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"\bmake ((?:[a-z-]+ ?)+)", commands_in(page)))
    words = {word for line in named for word in line.split()}
    assert words <= targets, words - targets


def test_every_target_that_help_shows_is_documented_somewhere():
    shown = set(re.findall(r"^([a-z-]+):.*## ", (PROJECT / "Makefile").read_text(), re.MULTILINE)) - {"help", "clean"}
    said = " ".join(text_of(page) for page in PAGES)
    assert {target for target in shown if not re.search(rf"make (?:[a-z-]+ )*{target}\b", said)} == set()


@pages
def test_every_keel_command_that_is_named_exists(page):
    from typer.main import get_command

    from keel.cli.main import app

    known = get_command(app).commands
    for line in re.findall(r"^(?:\.venv/bin/)?keel ([a-z]+(?: [a-z-]+)?)", commands_in(page), re.MULTILINE):
        first, _, second = line.partition(" ")
        assert first in known, f"keel {line}"
        assert second in getattr(known[first], "commands", {second: None}), f"keel {line}"


def test_every_keel_command_is_in_the_changelog():
    from typer.main import get_command

    from keel.cli.main import app

    changes = text_of(PROJECT / "CHANGELOG.md")
    [line] = re.findall(r"^- The `keel` command: (.+)$", changes, re.MULTILINE)
    added = re.findall(r"`keel (\w+)", changes.partition("## [0.1.0]")[0])
    commands = set(get_command(app).commands)
    assert set(re.findall(r"`(\w+)`", line)) <= commands
    assert commands <= {*re.findall(r"`(\w+)`", line), *added}


@pages
def test_every_link_inside_the_project_resolves(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose_of(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        assert linked.is_relative_to(PROJECT), target
        if anchor:
            assert anchor in anchors(linked), target


@pages
def test_every_file_and_test_that_is_named_exists(page):
    for path in re.findall(
        r"`((?:include|plugins|dags|tests|docs|docker|benchmarks|keel|models)/[^`\s:<>*]+)", text_of(page)
    ):
        if path.startswith("include/models/churn"):  # what the reader makes
            continue
        assert (PROJECT / path).exists() or (PROJECT / "include" / path).exists(), path
    for file, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text_of(page)):
        assert re.search(rf"^\s*def {name}\(", text_of(PROJECT / file), re.MULTILINE), f"{file}::{name}"


def sheet() -> list[set[str]]:
    """The floors that the architecture page draws, top to ground; the leading word of a line names its band."""
    section = text_of(PROJECT / "docs" / "architecture.md").partition("\n## The sheet")[2].partition("\n## ")[0]
    [drawn] = [block["body"] for block in FENCE.finditer(section)]
    return [set(re.sub(r"^[A-Z]+ ", "", line).strip().split(" · ")) for line in drawn.splitlines()]


def test_the_architecture_describes_every_package_once():
    section = text_of(PROJECT / "docs" / "architecture.md").partition("\n## The sheet")[2].partition("\n## ")[0]
    named = re.findall(r"^\| `keel\.(\w+)` \|", section, re.MULTILINE)
    keel = PROJECT / "include" / "keel"
    there = {path.stem for path in keel.iterdir() if (path.is_dir() or path.suffix == ".py") and path.stem[0] != "_"}
    assert sorted(named) == sorted(there)


def test_the_sheet_is_the_import_contract():
    import tomllib

    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    [contract] = settings["tool"]["importlinter"]["contracts"]
    layers = [{name.strip() for name in layer.split("|")} for layer in contract["layers"]]
    top, *below = sheet()
    assert top == {"dags", "keel_airflow"}
    assert below == layers


@pages
def test_there_is_no_path_or_host_of_anybodys_machine(page):
    text = text_of(page)
    assert not re.findall(r"(?<![\w.:/])/(?:home|root|Users|work|tmp|private)/", text)
    hosts = {
        h.partition("/")[0].rpartition("@")[2].partition(":")[0] for h in re.findall(r"https?://([^\s)>`'\"]+)", text)
    }
    public = {"keepachangelog.com", "semver.org", "www.sqlite.org", "github.com"}
    public |= {"api.slack.com", "hooks.slack.com", "events.eu.pagerduty.com"}
    assert {h for h in hosts if h not in public | {"localhost", "127.0.0.1"} and not h.endswith("example.com")} == set()
    addresses = {a.rpartition("@")[2] for a in re.findall(r"[\w.+-]+@[\w.-]+\w", text)}
    assert addresses <= {"example.com", "localhost", "host"}


def shown_default(value: Any) -> str:
    """How the tables write a default."""
    if value is PydanticUndefined:
        return "required"
    if value is None or value == ():
        return "none"
    if value == "":
        return "empty"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"  # as YAML writes it
    if isinstance(value, timedelta):
        days, rest = divmod(value, timedelta(days=1))
        return f"`{days}d`" if days > 1 and not rest else f"`{value // timedelta(hours=1)}h`"
    if isinstance(value, tuple):
        return ", ".join(map(shown_default, value))
    return f"`{value}`"


def every_key(section: Any, prefix: str = "") -> dict[str, str]:
    """Every key that a model.yaml may have, dotted, with its default as the tables write it."""
    keys: dict[str, str] = {}
    for name, field in section.model_fields.items():
        inner = [m for m in (field.annotation, *get_args(field.annotation)) if hasattr(m, "model_fields")]
        for member in inner:
            keys |= every_key(member, f"{prefix}{name}.")
        if not inner or field.default is None:
            keys[prefix + name] = shown_default(field.default)
    return keys


def test_every_key_is_documented_with_its_default_and_nothing_else_is():
    # a run's parameter may have the name of a key
    of_a_model = text_of(CONFIGURATION).partition("## Parameters of a run")[0]
    rows = re.findall(r"^\| `([a-z_.]+)` \| [^|]+ \| ([^|]+?) \|", of_a_model, re.MULTILINE)
    keys = every_key(ModelConfig)
    documented = {key: default for key, default in rows if key in keys or "." in key or key in ModelConfig.model_fields}
    assert documented == keys


def test_the_readmes_defaults_are_the_configurations():
    keys = every_key(ModelConfig)
    section = text_of(PROJECT / "README.md").partition("\n## Configuration")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`[a-z_.`, ]+`) \| ([^|]+?) \|", section, re.MULTILINE)
    assert len(rows) == 8
    for names, defaults in rows:
        said = dict(zip(re.findall(r"`([a-z_.]+)`", names), defaults.split(", ") * 2, strict=False))
        said.pop("check.schedule", None)  # told in words
        assert said == {name: keys[name] for name in said}


ENVIRON = r"""environ\w*(?:\.get)?[\[(]["'](\w+)["']"""
"""How code reads a variable. Jinja has environments too, with filters."""


def test_every_environment_variable_that_is_read_is_documented():
    code = [*PROJECT.glob("include/**/*.py"), *PROJECT.glob("plugins/**/*.py"), PROJECT / "conftest.py"]
    read = {v for file in code for v in re.findall(ENVIRON, file.read_text())}
    read |= {v for file in code for v in re.findall(r"""["'](KEEL_[A-Z_]*[A-Z])["']""", file.read_text())}
    read |= set(re.findall(r"\$\{(KEEL_\w+)", (PROJECT / "docker-compose.yaml").read_text()))
    read = {variable for variable in read - {"NO_PROXY", "_AIRFLOW_PROCESS_CONTEXT"} if "__" not in variable}
    assert len(read) > 8
    said = text_of(CONFIGURATION) + text_of(PROJECT / "CONTRIBUTING.md")  # the second names those of the tests
    assert {variable for variable in read if f"`{variable}`" not in said} == set()


def test_every_connection_and_parameter_is_documented():
    plugins = {file: file.read_text() for file in PROJECT.glob("plugins/**/*.py")}
    connections = {c for text in plugins.values() for c in re.findall(r'_CONN_ID = "(\w+)"', text)}
    params = set(re.findall(r'"(\w+)": (?:Param|_time)\(', (PROJECT / "plugins/keel_airflow/params.py").read_text()))
    assert connections
    lasts = {"max_outcomes", "min_duration", "max_duration", "start_at"}
    of_experiments = {"action", "mode", "allocation", "ramp", "metric", "margin", "alpha"} | lasts
    of_runs = {"start", "end", "overrides", "reason", "version", "versions", "force", "experiment"}
    of_samples = {"model", "channel", "to"}
    assert params == of_runs | of_experiments | of_samples
    rows = set(re.findall(r"^\| `(\w+)` \|", text_of(CONFIGURATION), re.MULTILINE))
    assert connections | params <= rows


def test_every_status_is_named_where_people_look_it_up():
    from keel.monitoring.column_status import ColumnStatus, Severity
    from keel.monitoring.decision import Action
    from keel.monitoring.performance import PerformanceStatus
    from keel.monitoring.quality import QualityStatus

    operations, statistics = (text_of(PROJECT / "docs" / f"{name}.md") for name in ("operations", "statistics"))
    for page, names in (
        (operations, [*Action, *QualityStatus, *PerformanceStatus, *Severity]),
        (statistics, [*ColumnStatus]),
    ):
        assert [str(name) for name in names if f"`{name.value}`" not in page] == []


def test_every_python_block_compiles_and_every_yaml_block_parses():
    found = [(page, block) for page in PAGES for block in FENCE.finditer(text_of(page))]
    languages = {block["info"].partition(" ")[0] for _, block in found}
    assert languages >= {"python", "yaml"}
    for page, block in found:
        language = block["info"].partition(" ")[0]
        if language == "python":
            compile(block["body"], f"{page.name}: {block['info']}", "exec")
        elif language == "yaml":
            yaml.safe_load(block["body"])


def test_a_block_that_says_it_is_a_model_is_one(tmp_path):
    found = [b["body"] for page in PAGES for b in FENCE.finditer(text_of(page)) if b["info"].endswith("/model.yaml")]
    assert found
    for number, body in enumerate(found):
        path = tmp_path / f"{number}.yaml"
        path.write_text(body)
        assert load_model(path, {}).retrain is not None


def without_digits(text: str) -> list[str]:
    """What a machine with other arithmetic would print too."""
    return [re.sub(r"\d+(?:[.,]\d+)*", "#", re.sub(r"better|worse", "…", line)) for line in text.splitlines()]


@pytest.mark.slow
def test_the_worked_example_runs_and_prints_what_it_says(tmp_path):
    """In a process of its own, in the order of the page, on an empty home."""
    done = worked_example.run(tmp_path)
    assert done.returncode == 0, done.stderr[-2_000:]
    assert without_digits(done.stdout) == without_digits("".join(blocks(EXAMPLE, "text output")))


def test_nothing_planned_is_documented_as_there():
    """Names of the design that do not exist may stand in the roadmap only."""
    planned = ["keel doctor", "keel init"]
    for page in PAGES:
        text = text_of(page).partition("## Planned")[0].lower()
        assert [word for word in planned if word in text] == []

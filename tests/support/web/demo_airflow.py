"""Airflow with all of its parts on a copy of the demo's home, and people who use its pages in Chromium."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keel.cli.standalone.stack import PROJECT, Stack
from tests.support.demo_home import copy_home
from tests.support.reports.sample_page import MARKUP

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

MODEL = "flight_delay"
CHECK, PROMOTE, ROLLBACK = (f"{MODEL}.{step}" for step in ("drift_check", "promote", "rollback"))
LONG = "probability_of_churn_in_every_sales_area"
"""The longest name that a model may have."""
PASSWORD = "only-for-tests"
USERS = {"admin": "admin", "olga": "op", "vera": "viewer"}
SIZES: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1360, "height": 900}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1360, "height": 900}, "color_scheme": "dark"},
    "phone": {
        "viewport": {"width": 390, "height": 844},
        "color_scheme": "light",
        "device_scale_factor": 2,
        "is_mobile": True,
        "has_touch": True,
    },
}
"""Windows, and the theme that their owner prefers."""


def hostile_models(folder: Path) -> Path:
    """Write the demo's model with markup for its owner, and two that are not valid: one's name is markup."""
    shutil.copytree(PROJECT / "include" / "models", folder, ignore=shutil.ignore_patterns("__pycache__"))
    file = folder / MODEL / "model.yaml"
    lines = [line for line in file.read_text().splitlines() if not line.startswith("owner:")]
    file.write_text("\n".join([*lines, f"owner: {json.dumps(MARKUP)}"]) + "\n")
    for name in (MARKUP, LONG):
        (folder / name).mkdir()
        (folder / name / "model.yaml").write_text(f"model: {json.dumps(name)}\n")
    return folder


@contextmanager
def demo_airflow(folder: Path, models: Path | None = None) -> Iterator[Stack]:
    """Start MLflow and Airflow on a copy of the demo's home, on which nothing runs by itself."""
    home = copy_home(folder / "home")
    passwords = home / "airflow" / "passwords.json"
    passwords.write_text(json.dumps(dict.fromkeys(USERS, PASSWORD)))
    environment = {
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{user}:{role}" for user, role in USERS.items()),
        "KEEL__CHECK__SCHEDULE": "null",
        "KEEL__PROMOTION__MONITOR_SCHEDULE": "null",
        "KEEL_MAINTENANCE_SCHEDULE": "null",
        "KEEL_ALERTS_SCHEDULE": "null",
        **({"KEEL_MODELS_FOLDER": str(models)} if models else {}),
    }
    with Stack(home, environment=environment) as stack:
        with stack.api as api:
            api.wait_for_dags([CHECK, PROMOTE, ROLLBACK], timeout=90, check=stack.check)
            for dag_id in (PROMOTE, ROLLBACK):
                api.unpause(dag_id)
        yield stack


class Visitor:
    """A person with a browser. What the browser complains of, and each other site that it asks, is kept."""

    def __init__(self, browser: Browser, url: str, size: str = "light") -> None:
        self.url = url
        self.context = browser.new_context(**SIZES[size])
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.elsewhere: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._note)
        self.page.on("request", self._watch)

    def log_in(self, user: str = "admin", path: str = "/") -> Visitor:
        """Log in as people do, by Airflow's form, then open a page."""
        self.page.goto(f"{self.url}/auth/login")
        self.page.fill("input[name=username]", user)
        self.page.fill("input[name=password]", PASSWORD)
        self.page.click("button[type=submit]")
        self.page.wait_for_url(lambda url: "/auth/" not in url)
        return self.open(path)

    def open(self, path: str) -> Visitor:
        """Open a page, and wait until it has its content."""
        self.page.goto(self.url + path)
        if path.startswith("/keel/"):
            self.page.wait_for_selector("main")
        return self

    def close(self) -> None:
        """Close the browser's window."""
        self.context.close()

    def _note(self, message: Any) -> None:
        if message.type == "error" and "/keel/" in message.location.get("url", ""):
            self.complaints.append(message.text)

    def _watch(self, request: Any) -> None:
        if not request.url.startswith((self.url, "data:", "blob:")):
            self.elsewhere.append(request.url)

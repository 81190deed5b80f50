"""The documents around a page: where one is, the scripts, the dialogs; and the pages of errors."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING
from urllib.parse import quote

from fastapi.responses import HTMLResponse, StreamingResponse

from keel.reports.html.live import Live
from keel.values.texts import NAME, shown
from keel_airflow.web import limits, problems
from keel_airflow.web.page.static_files import revision
from keel_airflow.web.page.views import View

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from fastapi import Request

    from keel_airflow.web.problems import Problem

POLICY = (
    "default-src 'none'; style-src 'self'{style}; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
HEADERS = {
    "Content-Security-Policy": POLICY.format(style=""),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every answer: no script, style or request but the page's own, no copy on a disk, and no frame but Airflow's."""

LOGIN_STYLE = (
    ":root{color-scheme:light dark}h1{font-size:21px}"
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60ch;margin:12vh auto;padding:0 20px}"
)
"""Of the page for those without a login, who get no file. The policy names its checksum."""

SCRIPTS = ("report", "page", "actions")
WAITING = '<p class="waiting" role="status">The page is being made.</p>\n'

END = """\
</div>
<dialog id="action" aria-labelledby="action-title" aria-describedby="action-question">
<form method="dialog" novalidate>
<h2 class="title" id="action-title"></h2>
<p class="question" id="action-question"></p>
<div class="fields"></div>
<div class="fault" role="alert" hidden></div>
<div class="state" role="status" hidden></div>
<div class="buttons"><button type="button" data-cancel>Cancel</button><button type="submit">Confirm</button></div>
</form>
</dialog>
<dialog id="outside" aria-labelledby="outside-title">
<h2 id="outside-title">This address is outside Airflow</h2>
<p>Airflow's frame opens no other site. Copy the address into a tab of its own.</p>
<input type="text" readonly aria-label="Address">
<div class="buttons"><button type="button" data-close>Close</button><button type="button" id="copy">Copy</button></div>
</dialog>
</body>
</html>
"""
"""The dialogs that the scripts fill, and the end of a document."""


@dataclass(frozen=True)
class Place:
    """Where a document is.

    root: address of Keel's pages, such as ``/keel``, or ``/airflow/keel`` where Airflow is mounted below a path.
    """

    root: str

    @property
    def airflow(self) -> str:
        """Address of Airflow, without a slash at its end."""
        return self.root.rpartition("/")[0]


def place_of(request: Request) -> Place:
    """Return where the pages are, by the request."""
    return Place(str(request.scope.get("root_path", "")).rstrip("/"))


def document(place: Place, view: View, content: str, caller: str) -> HTMLResponse:
    """Return a whole document.

    content: HTML with a ``main``. caller: who is logged in; empty where it is not known.
    """
    later = {} if view.retry_after is None else {"Retry-After": str(view.retry_after)}
    return HTMLResponse(_start(place, view, caller) + content + END, view.status, {**HEADERS, **later})


def slow_document(place: Place, view: View, build: Callable[[], str], caller: str) -> StreamingResponse:
    """Return a document that shows at once that it comes, and then what ``build`` returns, or why it fails.

    build: returns HTML with a ``main``; it runs on Keel's threads.
    """

    async def parts() -> AsyncIterator[str]:
        yield _start(place, view, caller) + WAITING
        try:
            content = await limits.run(build)
        except Exception as error:
            content = problem_content(problems.of_exception(error))
        yield content + END

    # Airflow compresses what has no encoding, and a compressed beginning is kept back until there is more of it.
    return StreamingResponse(parts(), headers={**HEADERS, "Content-Encoding": "identity"}, media_type="text/html")


def _start(place: Place, view: View, caller: str) -> str:
    root = escape(place.root)
    files = f"{root}/static"
    scripts = "".join(f'<script src="{files}/{name}.js?v={revision()}" defer></script>\n' for name in SCRIPTS)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(shown(view.title, NAME))} · Keel</title>\n"
        f'<link rel="icon" href="{files}/keel.svg?v={revision()}" type="image/svg+xml">\n'
        f'<link rel="stylesheet" href="{files}/keel.css?v={revision()}">\n'
        f'<script src="{files}/theme.js?v={revision()}"></script>\n{scripts}</head>\n'
        f'<body data-root="{root}" data-airflow="{escape(place.airflow)}">\n'
        '<a class="skip" href="#content">To the content</a>\n'
        f'{_bar(place, view, caller)}<div id="content" tabindex="-1">\n'
    )


def _bar(place: Place, view: View, caller: str) -> str:
    live = Live(place.root, lambda _: False)
    steps = [f"<li>{live.link(step)}</li>" for step in view.above]
    steps.append(f'<li><span aria-current="page">{escape(shown(view.here, NAME))}</span></li>')
    who = f"{escape(shown(caller, NAME))} · " if caller else ""
    return (
        f'<nav class="bar" aria-label="Keel"><ol class="crumbs">{"".join(steps)}</ol>'
        f'<span class="outside-frame">{who}<a href="{escape(place.airflow)}/">Airflow</a></span></nav>\n'
    )


def problem_document(place: Place, problem: Problem, caller: str = "") -> HTMLResponse:
    """Return a problem as a page that says what is wrong and what to do."""
    view = View(problem.title, status=problem.status, retry_after=problem.retry_after)
    answer = document(place, view, problem_content(problem), caller)
    answer.headers.update(problem.headers)
    return answer


def problem_content(problem: Problem) -> str:
    """Return the ``main`` of the page of a problem."""
    wrong = "".join(
        f"<li>{escape(shown(': '.join(filter(None, (each.get('message'), each.get('remedy'))))))}</li>"
        for each in (problem.errors if problem.status != 404 else ())  # those are for who calls the API
    )
    said = "".join(f"<p>{escape(shown(_as_sentence(line)))}</p>" for line in problem.detail.splitlines())
    after = '<p><a href="">Try again</a></p>' if problem.status >= 500 else ""
    return (
        f'<main class="message"><p class="eyebrow">{problem.status}</p><h1>{escape(shown(problem.title))}</h1>'
        f"{said}{f'<ul>{wrong}</ul>' if wrong else ''}{after}</main>"
    )


def login_document(problem: Problem, request: Request) -> HTMLResponse:
    """Return the page for a request without a login: it says so, and leads to Airflow's. It needs no other file."""
    airflow = place_of(request).airflow
    wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    address = f"{airflow}/auth/login?next={quote(wanted, safe='')}"
    link = f'<p><a href="{escape(address)}">Log in</a></p>' if problem.status == 401 else ""
    says = "Keel shows its pages to those who are logged in." if problem.status == 401 else problem.detail
    checksum = base64.b64encode(hashlib.sha256(LOGIN_STYLE.encode()).digest()).decode()
    return HTMLResponse(
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(problem.title)} · Keel</title>\n<style>{LOGIN_STYLE}</style>\n</head>\n"
        f"<body>\n<main><h1>{escape(problem.title)}</h1><p>{escape(shown(says))}</p>{link}</main>\n</body>\n</html>\n",
        problem.status,
        {**HEADERS, **problem.headers, "Content-Security-Policy": POLICY.format(style=f" 'sha256-{checksum}'")},
    )


def _as_sentence(text: str) -> str:
    """Return a detail as a sentence. What begins it may be the name of a file or a key, which stays as it is."""
    begun = text[:1].upper() + text[1:] if text.partition(" ")[0].isalpha() else text
    return begun + ("" if text.endswith((".", "!", "?")) else ".")

"""Let all that begins with ``/models`` reach the app that is mounted there.

A mounted app answers what begins with ``/models/`` and has no line break. Airflow's own page would answer the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.responses import RedirectResponse

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.types import ASGIApp, Receive, Scope, Send


class BarePaths:
    """Middleware of Airflow's app, which looks at the path of each request and does no more for most.

    endpoints: paths that are answered as if a slash followed.
    pages: paths that are redirected to the one with a slash, from which the addresses in a page are read.
    """

    def __init__(self, app: ASGIApp, endpoints: Collection[str], pages: Collection[str]) -> None:
        self._app = app
        self._endpoints, self._pages = frozenset(endpoints), frozenset(pages)
        self._beginnings = tuple(f"{path}/" for path in (*endpoints, *pages))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            root = scope.get("root_path", "")
            path = scope["path"].removeprefix(root)
            if path in self._endpoints:
                scope = {**scope, "path": f"{scope['path']}/"}
            elif path in self._pages:
                query = scope.get("query_string", b"").decode("latin-1")
                await RedirectResponse(f"{root}{path}/{'?' if query else ''}{query}")(scope, receive, send)
                return
            elif "\n" in path and path.startswith(self._beginnings):
                scope = {**scope, "path": scope["path"].replace("\n", "\ufffd")}
        await self._app(scope, receive, send)

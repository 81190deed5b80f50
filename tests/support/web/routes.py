"""The routes of Keel's plugin as its apps have them, printed for tests: Airflow is imported in this process only."""

from __future__ import annotations

import json

from starlette.routing import Mount


def main() -> None:
    """Print ``[[method, path], …]``, a mounted folder with the method GET and a path that ends with ``/*``."""
    from keel_airflow.web import registration

    found = []
    for app in registration.fastapi_apps():
        for route in app["app"].routes:
            if isinstance(route, Mount):
                found.append(("GET", f"{app['url_prefix']}{route.path}/*"))
                continue
            found += [(method, app["url_prefix"] + route.path) for method in route.methods if method != "HEAD"]
    print(json.dumps(sorted(found)))


if __name__ == "__main__":
    main()

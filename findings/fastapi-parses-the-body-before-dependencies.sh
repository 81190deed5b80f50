#!/usr/bin/env bash
# fastapi 0.136.3: the body of a request is read and parsed as JSON before any dependency runs, also one of the route's
# own that asks who calls.
#
# A caller whom the dependency refuses with 401 gets 422 for a body that is cut short, and the dependency is not asked.
# A body that is JSON, but of the wrong types, gets 401: its validation comes later. So a limit of a body's size, or a
# login that is to come before it is read, belongs into a middleware.
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet fastapi==0.136.3 httpx==0.28.1
seen=$("$here/venv/bin/python" -W ignore - <<'PYTHON'
from fastapi import Depends, FastAPI, HTTPException
from fastapi.testclient import TestClient
from pydantic import BaseModel

asked = []


def login() -> None:
    asked.append(True)
    raise HTTPException(401)


class Body(BaseModel):
    number: int


app = FastAPI()


@app.post("/", dependencies=[Depends(login)])
def post(body: Body) -> None:
    pass


client = TestClient(app)
for name, body in {"valid": '{"number": 1}', "of another type": '{"number": "one"}', "cut short": '{"number": '}.items():
    asked.clear()
    answer = client.post("/", content=body, headers={"Content-Type": "application/json"})
    print(f"a body that is {name}: {answer.status_code}, the dependency {'was' if asked else 'was not'} asked")
PYTHON
)
echo "$seen"
[[ $seen == "a body that is valid: 401, the dependency was asked
a body that is of another type: 401, the dependency was asked
a body that is cut short: 422, the dependency was not asked" ]] || {
  echo "changed" >&2
  exit 1
}

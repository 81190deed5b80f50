#!/usr/bin/env bash
# MLflow 3.17.2: MlflowClient(tracking_uri=A) writes models to B where MLFLOW_REGISTRY_URI is B.
#
# The documentation of the client's registry_uri says: without it the registry is the one of set_registry_uri, and
# "if no such service was set, defaults to the tracking uri of the client". The environment variable counts as set, and
# it wins over the tracking URI that the caller has named. So a program that names its server, and is started in a shell
# that is set up for another one, keeps its runs in one place and its registered models in the other, without a message.
# What helps is to name both: MlflowClient(tracking_uri=A, registry_uri=A).
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet mlflow-skinny==3.17.2 sqlalchemy==2.1.9 alembic==1.20.1
cat > "$here/register.py" <<'PYTHON'
import sys
from pathlib import Path

from mlflow import MlflowClient

here, *both = sys.argv[1:]
uri = f"sqlite:///{here}/named.db"
client = MlflowClient(tracking_uri=uri, registry_uri=uri if both else None)
client.create_experiment("experiment")
client.create_registered_model("model")
places = {name: MlflowClient(f"sqlite:///{here}/{name}.db", f"sqlite:///{here}/{name}.db")
          for name in ("named", "environment") if Path(here, f"{name}.db").exists()}
for kind, found in (
    ("the experiment", [n for n, c in places.items() if c.get_experiment_by_name("experiment")]),
    ("the model", [n for n, c in places.items() if c.search_registered_models()]),
):
    print(kind, "is in", *found)
PYTHON
run() {  # what is seen; a new folder each time
  mkdir "$here/$1"
  local variable=${2:+MLFLOW_REGISTRY_URI=sqlite:///$here/$1/environment.db}
  env -u MLFLOW_TRACKING_URI -u MLFLOW_REGISTRY_URI ${variable:+"$variable"} \
    "$here/venv/bin/python" "$here/register.py" "$here/$1" ${3:-} 2>/dev/null
}
without=$(run without)
with=$(run with variable)
both=$(run both variable both)
printf 'tracking_uri named:\n%s\nwith MLFLOW_REGISTRY_URI:\n%s\nwith it, and registry_uri named too:\n%s\n' \
  "$without" "$with" "$both"
home=$'the experiment is in named\nthe model is in named'
[[ $without == "$home" && $both == "$home" && $with == $'the experiment is in named\nthe model is in environment' ]] || {
  echo "changed" >&2
  exit 1
}

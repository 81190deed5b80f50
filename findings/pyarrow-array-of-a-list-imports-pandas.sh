#!/usr/bin/env bash
# pyarrow 25.0.1: pa.array of a list of integers imports pandas where it is installed, and so does as_py() of a single
# timestamp with a zone. Importing pyarrow, to_pylist() of integers, and as_py() of a timestamp without a zone do not.
#
# A process that is to stay small, and holds Arrow's columns alone, pays for pandas at the first such call.
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet pyarrow==25.0.1 pandas==3.1.0
seen=$("$here/venv/bin/python" - <<'PYTHON'
import subprocess
import sys

COLUMN = "import array\nb = pa.py_buffer(array.array('q', [1000000]).tobytes())\ncolumn = lambda t: pa.Array.from_buffers(t, 1, [None, b])\n"
STEPS = {
    "import pyarrow": "",
    "to_pylist of integers": COLUMN + "column(pa.int64()).to_pylist()",
    "as_py of a timestamp without a zone": COLUMN + "column(pa.timestamp('us'))[0].as_py()",
    "as_py of a timestamp in UTC": COLUMN + "column(pa.timestamp('us', tz='UTC'))[0].as_py()",
    "array of a list of integers": "pa.array([1, 2])",
}
for name, step in STEPS.items():
    script = f"import sys\nimport pyarrow as pa\n{step}\nprint('pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    print(f"{name}: pandas is {'' if done.stdout.strip() == 'True' else 'not '}imported")
PYTHON
)
echo "$seen"
[[ $seen == "import pyarrow: pandas is not imported
to_pylist of integers: pandas is not imported
as_py of a timestamp without a zone: pandas is not imported
as_py of a timestamp in UTC: pandas is imported
array of a list of integers: pandas is imported" ]] || {
  echo "changed" >&2
  exit 1
}

#!/usr/bin/env bash
# pyarrow 25.0.1: floor_temporal refuses instants in the hour that occurs twice in autumn.
#
# An array of timestamps with a zone holds instants, so which hour is meant is known. floor_temporal to hours or minutes
# still raises "Local time is ambiguous" for the whole array when one value lies in the hour after clocks go back; to
# days and months it works. One such row a year stops a job that groups by hour. Cast to UTC, floored, and cast back,
# the same array gives two different hours, as it should.
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet pyarrow==25.0.1 tzdata
"$here/venv/bin/python" <<'PYTHON'
import sys
from datetime import datetime, timezone

import pyarrow as pa
import pyarrow.compute as pc

instants = [datetime(2026, 10, 25, hour, 30, tzinfo=timezone.utc) for hour in (0, 1)]
local = pa.array(instants, pa.timestamp("us", "Europe/Berlin"))


def floored(values, unit):
    try:
        return pc.floor_temporal(values, unit=unit)
    except pa.ArrowInvalid as error:
        return str(error).partition(":")[0]


said = {unit: floored(local, unit) for unit in ("minute", "hour", "day", "month")}
for unit, result in said.items():
    print(unit, "->", result if isinstance(result, str) else "floored")
in_utc = [str(value) for value in floored(local.cast(pa.timestamp("us", "UTC")), "hour").cast(local.type)]
print("hour, floored in UTC ->", in_utc)
refused = [unit for unit, result in said.items() if result == "Local time is ambiguous"]
if refused != ["minute", "hour"] or len(set(in_utc)) != 2:
    sys.exit(f"changed: refused are {refused}, floored in UTC {in_utc}")
PYTHON

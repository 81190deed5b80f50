#!/bin/sh
# Redis reads its password from its standard input: every user of a machine can read the command lines.
set -eu

: "${KEEL_REDIS_PASSWORD:?KEEL_REDIS_PASSWORD is not set, see .env.example: the profile celery needs it}"
exec redis-server - "$@" <<END
requirepass $KEEL_REDIS_PASSWORD
END

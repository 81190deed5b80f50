#!/usr/bin/env bash
# Runs once before the servers start, and again after every update. Repeating it is safe.
set -euo pipefail

airflow db migrate
keel migrate --reader keel_reader
airflow pools set keel_training 1 "One training at a time: it uses the whole machine"

# The simple auth manager reads its users' passwords from a file.
umask 077
python -c 'import json, os; print(json.dumps({"admin": os.environ["KEEL_ADMIN_PASSWORD"]}))' \
  > "$AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"

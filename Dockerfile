# One image for all services: Airflow's parts, MLflow, the scoring service and the migrations differ in their command.
# It is Airflow's own, in its slim form: requirements.txt brings every provider that Keel needs, and pins it.
FROM apache/airflow:slim-3.3.2-python3.11

ENV PYTHONUNBUFFERED=1 \
    PYTHONPATH=/opt/keel/include \
    AIRFLOW_HOME=/var/lib/keel/airflow \
    KEEL_HOME=/var/lib/keel/home

# Docker copies the owner of a folder into a new volume, so these folders must belong to the user.
USER root
RUN install --directory --owner=airflow --group=0 /opt/keel \
      /var/lib/keel /var/lib/keel/airflow /var/lib/keel/airflow/logs \
      /var/lib/keel/home /var/lib/keel/mlartifacts /var/lib/keel/spool
USER airflow

# Requirements change rarely and the project often, so each has its own layer.
WORKDIR /opt/keel
COPY --chown=airflow:0 requirements.txt ./
RUN pip install --no-cache-dir -r requirements.txt

COPY --chown=airflow:0 pyproject.toml LICENSE ./
COPY --chown=airflow:0 include include
RUN pip install --no-cache-dir --no-deps --editable .
COPY --chown=airflow:0 plugins plugins
COPY --chown=airflow:0 dags dags
COPY --chown=airflow:0 docker docker

# Airflow's entry point takes every command for one of Airflow's.
ENTRYPOINT []
CMD ["airflow", "version"]

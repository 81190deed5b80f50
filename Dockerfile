# One image for all services: Airflow's parts, MLflow, the scoring service and the migrations differ in their command.
FROM python:3.11.13-slim-bookworm

ARG UV_VERSION=0.13.9
ENV PYTHONUNBUFFERED=1 \
    PYTHONPATH=/opt/keel/include \
    AIRFLOW_HOME=/var/lib/keel/airflow \
    KEEL_HOME=/var/lib/keel/home

RUN pip install --no-cache-dir uv==${UV_VERSION}

# Requirements change rarely and the project often, so each has its own layer.
COPY requirements.txt /opt/keel/
RUN uv pip install --system --no-cache --compile-bytecode -r /opt/keel/requirements.txt

WORKDIR /opt/keel
COPY pyproject.toml LICENSE ./
COPY include include
RUN uv pip install --system --no-cache --no-deps --editable .
COPY plugins plugins
COPY dags dags
COPY docker docker

# Docker copies the owner of a folder into a new volume, so these folders must belong to the user.
RUN useradd --uid 50000 --create-home keel \
    && mkdir -p /var/lib/keel/airflow/logs /var/lib/keel/home /var/lib/keel/mlartifacts /var/lib/keel/spool \
    && chown -R keel:keel /var/lib/keel
USER keel

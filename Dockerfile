# One image for every part: Airflow's four, MLflow's server and the migrations differ in their command only.
FROM python:3.11.13-slim-bookworm

ARG UV_VERSION=0.13.9
ENV PYTHONUNBUFFERED=1 \
    PYTHONPATH=/opt/keel/include \
    AIRFLOW_HOME=/var/lib/keel/airflow \
    KEEL_HOME=/var/lib/keel/home

RUN pip install --no-cache-dir uv==${UV_VERSION}

# The requirements change seldom, the project often: a layer each.
COPY requirements.txt /opt/keel/
RUN uv pip install --system --no-cache --compile-bytecode -r /opt/keel/requirements.txt

WORKDIR /opt/keel
COPY pyproject.toml LICENSE ./
COPY include include
RUN uv pip install --system --no-cache --no-deps --editable .
COPY plugins plugins
COPY dags dags
COPY docker docker

# What a volume is mounted over must belong to the user already: Docker copies the owner into a new volume.
RUN useradd --uid 50000 --create-home keel \
    && mkdir -p /var/lib/keel/airflow/logs /var/lib/keel/home /var/lib/keel/mlartifacts /var/lib/keel/spool \
    && chown -R keel:keel /var/lib/keel
USER keel

"""No DAG of its own: shows every ``model.yaml`` that cannot be used as an import error in Airflow, with file and key.

The other DAG files build a DAG for each valid model and pass over the rest, because an exception there would take every
model's DAGs out of Airflow with it. Here it takes nothing, and the banner over the DAG list stays until it is mended.
"""

from keel.config import load_models

load_models()

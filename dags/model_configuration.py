"""Shows each invalid ``model.yaml`` as an import error in Airflow, with file and key. There is no DAG in this file.

The other DAG files build a DAG for each valid model and skip the others: an exception there would remove the DAGs of
every model. Here it removes none, and the banner over the DAG list stays until the file is fixed.
"""

from keel.config import load_models

load_models()

"""What Keel adds to Airflow's API server: the REST endpoints and the pages, all behind Airflow's own login.

    apps ─▶ routes, page ─▶ installation ─▶ keel
      └──▶ security, same_origin, limits, problems

Nothing here imports mlflow, sklearn, scipy or pandas: the API server stays small, and starts fast.
"""

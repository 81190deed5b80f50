"""Everything of Keel that imports Airflow: it translates between Airflow and `keel`, and computes nothing."""

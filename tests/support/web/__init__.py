"""What tests of Keel's pages and REST need: a filled installation, and Airflow's API server on it."""

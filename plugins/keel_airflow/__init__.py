"""The part of Keel that imports Airflow. It translates between Airflow and `keel`, and computes nothing."""

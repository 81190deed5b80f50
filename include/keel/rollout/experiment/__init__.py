"""Experiments in the loop: started, looked at, and ended through the deployment path."""

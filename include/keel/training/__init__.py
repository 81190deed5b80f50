"""Labelled rows in, a candidate version out."""

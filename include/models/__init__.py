"""The monitored models: one folder each, with a ``model.yaml`` and, where Keel may retrain it, a ``pipeline.py``."""

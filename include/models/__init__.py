"""The monitored models: a folder each, with a ``model.yaml`` and, if Keel trains the model, a ``pipeline.py``."""

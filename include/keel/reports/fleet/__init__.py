"""The overview: how every model is, the worst first, in one sentence and one table.

`collect` reads what the store has of all models, in a fixed number of queries. `page` makes the page of it, and is a
pure function. `unavailable` stands for what is collected while the store does not answer.
"""

from keel.reports.fleet.build import page
from keel.reports.fleet.data import Fleet, ModelRow, collect, model_of, unavailable

__all__ = ["Fleet", "ModelRow", "collect", "model_of", "page", "unavailable"]

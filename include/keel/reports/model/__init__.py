"""The page of a model: how it is now and how it became so, from what is stored.

view = collect(ws, config, now)                 what the store has of it; MLflow is not asked
page(view)                                      the page as blocks; a pure function of the records
column_page(ws, config, column, window)         a column in the window of a check, against its reference
"""

from keel.reports.model.build import page
from keel.reports.model.column import column_page
from keel.reports.model.data import collect
from keel.reports.model.view import ModelView

__all__ = ["ModelView", "collect", "column_page", "page"]

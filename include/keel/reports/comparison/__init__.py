"""The page of a comparison: the verdict, the evidence, what it would change in production, and what would change it.

page(record)    a stored comparison, on a holdout or in an experiment, of this release or of 0.1.0
"""

from keel.reports.comparison.build import page

__all__ = ["page"]

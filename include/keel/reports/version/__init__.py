"""The page of a version, its model card: data, metrics, limits, lineage and history.

data = collect(ws, config, version)     what the ledger, the registry and the store have of it
page(data)                              the page as blocks; a pure function of the records
"""

from keel.reports.version.build import page
from keel.reports.version.data import VersionData, collect

__all__ = ["VersionData", "collect", "page"]

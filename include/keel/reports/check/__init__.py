"""The page of a check: what is wrong, whether it hurts, what Keel did, and the evidence.

    data = collect(ws, config, version, window)     the stored records, the distributions and the history
    page(data)                                      the page as blocks; a pure function of the records
    document(data)                                  the same as JSON values

No part of the records has to exist: the page says what is missing, and why.
"""

from keel.reports.check.as_json import document
from keel.reports.check.build import page
from keel.reports.check.data import CheckData, CheckLinks, collect
from keel.reports.check.find import find_check
from keel.reports.check.remedies import to_do

__all__ = ["CheckData", "CheckLinks", "collect", "document", "find_check", "page", "to_do"]

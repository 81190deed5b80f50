"""A page as one self-contained HTML file, and as the frame that a notebook shows."""

from keel.reports.html.document import MAX_BYTES, notebook, render

__all__ = ["MAX_BYTES", "notebook", "render"]

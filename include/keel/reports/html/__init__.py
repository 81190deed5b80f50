"""A page as one self-contained HTML file, as the frame that a notebook shows, and as a part of another document."""

from keel.reports.html.assets import script, themed_style
from keel.reports.html.document import MAX_BYTES, notebook, render
from keel.reports.html.embedded import fragment

__all__ = ["MAX_BYTES", "fragment", "notebook", "render", "script", "themed_style"]

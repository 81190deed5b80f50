"""Render what Keel found: a page of plain blocks as text, HTML, Markdown, and its charts as SVG or PNG.

    page.py         the blocks that a page is made of; charts/specs.py: the charts
    html, text.py, markdown.py, charts/    one renderer each; they know blocks and charts, and nothing of Keel's
    texts.py        texts that are harmless to show
    check.py, comparison.py, …             one builder a kind of report: from its records to a `Page`

A builder is a pure function of records, so that a page of the same records has the same bytes.
"""

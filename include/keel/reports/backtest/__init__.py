"""The page of a backtest: its records, and the page that is built from them."""

from keel.reports.backtest.build import build_page
from keel.reports.backtest.words import command, headline, summary

__all__ = ["build_page", "command", "headline", "summary"]

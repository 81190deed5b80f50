"""Tests and intervals that stay valid however often they are evaluated."""

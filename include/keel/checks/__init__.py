"""Checks: what a window shows, as reports. Each is a function of counts or of labelled rows; none decides."""

"""The ``keel`` command, and the real servers it starts on one machine."""

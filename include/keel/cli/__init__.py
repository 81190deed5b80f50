"""The ``keel`` command: a module for each subcommand, and the servers it starts on one machine."""

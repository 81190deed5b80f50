"""Old names of commands and options: refused with exit code 2 and the name that replaced them."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperGroup

from keel.config import renames
from keel.errors import ConfigError


class RenamedCommands(TyperGroup):
    """A group of commands that refuses the old name of one of them."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command that ``args`` name; `ConfigError` for an old name."""
        old = " ".join((*_path(ctx), args[0]))
        if old in renames.COMMANDS:
            raise ConfigError(renames.renamed(f"keel {old}", f"keel {renames.COMMANDS[old]}"))
        return super().resolve_command(ctx, args)


class RenamedOptions(TyperCommand):
    """A command that refuses the old name of one of its options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments; `ConfigError` for an option's old name."""
        for argument in args:
            old = argument.partition("=")[0]
            if old in renames.OPTIONS:
                raise ConfigError(renames.renamed(old, renames.OPTIONS[old]))
        return super().parse_args(ctx, args)


def _path(ctx: Any) -> list[str]:
    """Return the names of the groups above a command, without the program's."""
    return [] if ctx.parent is None else [*_path(ctx.parent), ctx.info_name]

"""The group ``keel alerts``. Its commands stand in the modules beside this one."""

from __future__ import annotations

import typer

from keel.cli.alerts.budget import budget
from keel.cli.alerts.listing import list_, show
from keel.cli.alerts.normal import accept, withdraw
from keel.cli.alerts.quiet import ack, silence, silences, unsilence
from keel.cli.alerts.sending import heartbeat, sample, send

app = typer.Typer(help="Show alerts, acknowledge and silence them, and send what waits.", no_args_is_help=True)
app.command("list")(list_)
app.command()(show)
app.command()(ack)
app.command()(silence)
app.command()(silences)
app.command()(unsilence)
app.command()(accept)
app.command()(withdraw)
app.command()(budget)
app.command("test")(sample)
app.command()(send)
app.command()(heartbeat)

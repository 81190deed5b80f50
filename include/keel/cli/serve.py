"""``keel serve``: answer requests with the versions in production, and write down what was answered."""

from __future__ import annotations

from typing import Annotated

import typer


def serve(
    host: Annotated[
        str | None,
        typer.Option(
            help="Address to listen on; any but loopback needs keys. Default: KEEL_SERVING_HOST, else 127.0.0.1."
        ),
    ] = None,
    port: Annotated[int | None, typer.Option(help="0: any free one. Default: KEEL_SERVING_PORT, else 8090.")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that answer. Default: KEEL_SERVING_WORKERS, else 1.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="A model to serve; repeat it for more. Default: all configured.")
    ] = None,
) -> None:
    """Serve predictions over HTTP until interrupted: MLflow's scoring protocol, feedback, realised performance."""
    from keel.serving.process.run import run
    from keel.serving.settings import Settings

    settings = Settings.from_environment(host=host, port=port, workers=workers, models=tuple(model) if model else None)
    raise typer.Exit(run(settings))

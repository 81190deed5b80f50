"""``keel serve``: run the scoring service."""

from __future__ import annotations

from typing import Annotated

import typer


def serve(
    host: Annotated[
        str | None,
        typer.Option(
            help="Address to listen on; any but loopback requires API keys. Default: KEEL_SERVING_HOST, else 127.0.0.1."
        ),
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port; 0 takes any free one. Default: KEEL_SERVING_PORT, else 8090.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Number of worker processes. Default: KEEL_SERVING_WORKERS, else 1.")
    ] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="A model to serve; repeat the option for more. Default: every model.")
    ] = None,
) -> None:
    """Serve predictions over HTTP until interrupted: MLflow's scoring protocol, feedback, model performance."""
    from keel.serving.process.run import run
    from keel.serving.settings import Settings

    settings = Settings.from_environment(host=host, port=port, workers=workers, models=tuple(model) if model else None)
    raise typer.Exit(run(settings))

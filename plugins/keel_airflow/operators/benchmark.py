"""Measure how fast and how large versions are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keel_airflow.operators.base import KeelOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class BenchmarkOperator(KeelOperator):
    """Measures versions side by side on logged predictions, and logs what it finds to their runs in MLflow.

    :param versions: the versions; empty: those deployed, and the newest candidate. (templated)
    """

    template_fields = (*KeelOperator.template_fields, "versions")

    def __init__(
        self,
        *,
        versions: list[int] | str = "{{ params.versions }}",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.versions = versions

    def execute(self, context: Context) -> dict[str, Any]:
        """Return the numbers of each version, and their ratios to those of the version in production."""
        from keel.rollout.benchmark import benchmark_versions

        with self.keel() as (workspace, config):
            return benchmark_versions(workspace, config, self.versions)

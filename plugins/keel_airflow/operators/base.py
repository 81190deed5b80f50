"""What the operators share: the workspace, the model's configuration, and the one mapping of errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, BranchMixIn, conf
from airflow.sdk.exceptions import AirflowFailException

from keel.config import get_model
from keel.errors import KeelError
from keel_airflow.hooks import KEEL_CONN_ID, MLFLOW_CONN_ID, KeelHook

if TYPE_CHECKING:
    from airflow.sdk import Context

    from keel.config import ModelConfig
    from keel.workspace import Workspace


class KeelOperator(BaseOperator):
    """A step of Keel's loop on one model.

    :param model: name of the monitored model. (templated)
    :param overrides: configuration for this run only, by dotted key. (templated)
    :param keel_conn_id: connection to Keel's store. (templated)
    :param mlflow_conn_id: connection to MLflow. (templated)
    """

    template_fields: Sequence[str] = ("model", "overrides", "keel_conn_id", "mlflow_conn_id")

    def __init__(
        self,
        *,
        model: str,
        overrides: Mapping[str, Any] | str = "{{ params.overrides }}",
        keel_conn_id: str = KEEL_CONN_ID,
        mlflow_conn_id: str = MLFLOW_CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.overrides = overrides
        self.keel_conn_id = keel_conn_id
        self.mlflow_conn_id = mlflow_conn_id

    @contextmanager
    def keel(self) -> Iterator[tuple[Workspace, ModelConfig]]:
        """Open the workspace and the model's configuration, with Keel's errors turned into Airflow's.

        Permanent errors fail the task at once, with their message; transient ones propagate, so that it retries.
        """
        try:
            config = get_model(self.model).with_overrides(self.overrides or {}, origin="params.overrides")
            with KeelHook(keel_conn_id=self.keel_conn_id, mlflow_conn_id=self.mlflow_conn_id).get_conn() as workspace:
                yield workspace, config
        except KeelError as error:
            if error.permanent:
                raise AirflowFailException(str(error)) from error
            raise


class KeelBranchOperator(KeelOperator, BranchMixIn):
    """A step whose result says which of the next tasks run.

    :param branches: task id or task group id, by what the step may choose
    """

    inherits_from_skipmixin = True

    def __init__(self, *, branches: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.branches = branches

    def follow(self, context: Context, result: dict[str, Any], *choices: str) -> None:
        """Push the result, then skip every next task but the chosen; skipping ends the task, so it comes last."""
        if unknown := set(choices) - set(self.branches):
            raise AirflowFailException(
                f"no branch for {', '.join(sorted(unknown))}; this DAG has {', '.join(self.branches)}"
            )
        context["ti"].xcom_push(key="return_value", value=result)
        self.do_branch(context, [self.branches[choice] for choice in choices])


def asked_by(context: Context) -> str:
    """Return who asked for the run, ``airflow`` for a schedule.

    From the context and not by a template, as native templates make a number of a user, or a run, called ``1_000``.
    """
    return str(context["dag_run"].triggering_user_name or "airflow")


def run_url(context: Context) -> str:
    """Return the address of this run in Airflow's pages."""
    base = conf.get("api", "base_url", fallback="http://localhost:8080").rstrip("/")
    return f"{base}/dags/{context['dag'].dag_id}/runs/{context['run_id']}"

"""What the operators share: the workspace, the model's configuration, and the one mapping of errors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, BranchMixIn, conf
from airflow.sdk.exceptions import AirflowFailException

from keel.config import get_model
from keel.errors import ConfigError, KeelError
from keel_airflow.hooks import KEEL_CONN_ID, MLFLOW_CONN_ID, KeelHook

if TYPE_CHECKING:
    from airflow.sdk import Context

    from keel.config import ModelConfig
    from keel.workspace import Workspace

POLICY = "promotion"
"""The section of a model's configuration that no run may stand in for."""
MEASURED = ("performance.metric", "performance.also", "target.kind", "target.label_delay")
"""Nor for these: what the gate and experiments are judged by, and how old a row is when its label counts."""
ANONYMOUS = "Anonymous"
"""What Airflow calls everybody where nobody has to log in."""


class WorkspaceOperator(BaseOperator):
    """A step on all that Keel keeps, of whichever model.

    :param keel_conn_id: connection to Keel's store. (templated)
    :param mlflow_conn_id: connection to MLflow. (templated)
    """

    template_fields: Sequence[str] = ("keel_conn_id", "mlflow_conn_id")

    def __init__(
        self,
        *,
        keel_conn_id: str = KEEL_CONN_ID,
        mlflow_conn_id: str = MLFLOW_CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.keel_conn_id = keel_conn_id
        self.mlflow_conn_id = mlflow_conn_id

    @contextmanager
    def workspace(self) -> Iterator[Workspace]:
        """Open the workspace, with Keel's errors turned into Airflow's."""
        hook = KeelHook(keel_conn_id=self.keel_conn_id, mlflow_conn_id=self.mlflow_conn_id)
        with airflow_errors(), hook.get_conn() as workspace:
            yield workspace


class KeelOperator(WorkspaceOperator):
    """A step of Keel's loop on one model.

    :param model: name of the monitored model. (templated)
    :param overrides: configuration for this run only, by dotted key. (templated)
    """

    template_fields: Sequence[str] = ("model", "overrides", *WorkspaceOperator.template_fields)

    def __init__(
        self,
        *,
        model: str,
        overrides: Mapping[str, Any] | str = "{{ params.overrides }}",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.overrides = overrides

    @contextmanager
    def keel(self) -> Iterator[tuple[Workspace, ModelConfig]]:
        """Open the workspace and the model's configuration for this run, with Keel's errors turned into Airflow's."""
        with airflow_errors():
            config = configuration(self.model, self.overrides or {})
        with self.workspace() as workspace:
            yield workspace, config


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


@contextmanager
def airflow_errors() -> Iterator[None]:
    """Fail the task at once for an error of Keel's that stays; one that may pass goes on, so that the task retries."""
    try:
        yield
    except KeelError as error:
        if error.permanent:
            raise AirflowFailException(str(error)) from error
        raise


def configuration(model: str, overrides: Mapping[str, Any]) -> ModelConfig:
    """Return the model's configuration with what a run asks to be different.

    Raises
    ------
    ConfigError
        For a key that cannot be overridden: `POLICY` is the gate, and whoever may start a run could open it by a value.

    """
    policy = get_model(model)
    asked = policy.with_overrides(overrides, origin="params.overrides")
    touched = [str(key) for key in overrides if str(key).split(".")[0] == POLICY]
    # What the gate, and experiments, measure and on which labels is policy too, however the override is written.
    measured = [name for name in MEASURED if attrgetter(name)(asked) != attrgetter(name)(policy)]
    if names := [*touched, *measured]:
        raise ConfigError(
            f"params.overrides: {', '.join(names)}: {POLICY if touched else names[0]} is the model's policy: "
            "change model.yaml or the environment"
        )
    return asked


def asked_by(context: Context) -> str:
    """Return who asked for the run, ``airflow`` for a schedule.

    From the context and not by a template, as native templates make a number of a user, or a run, called ``1_000``.
    """
    return str(context["dag_run"].triggering_user_name or "airflow")


def started_by_hand(context: Context) -> bool:
    """Whether a person started this very run, and neither a schedule, an asset nor a task of another run."""
    dag_run = context["dag_run"]
    return dag_run.run_type == "manual" and is_somebody(dag_run.triggering_user_name)


def is_somebody(user: str | None) -> bool:
    """Whether Airflow's name for a user is that of one who has logged in.

    With ``simple_auth_manager_all_admins`` nobody does, and all who come are called `ANONYMOUS`.
    """
    return bool(user) and user != ANONYMOUS


def run_url(context: Context) -> str:
    """Return the address of this run in Airflow's pages."""
    base = conf.get("api", "base_url", fallback="http://localhost:8080").rstrip("/")
    return f"{base}/dags/{context['dag'].dag_id}/runs/{context['run_id']}"

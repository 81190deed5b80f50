"""The base classes of Keel's operators: the workspace, one step on one model, and a step that chooses a branch.

An operator of a step is a subclass of `StepOperator` that implements `StepOperator.step`:

- `__init__` takes keywords only and assigns them. What a run fills in is listed in ``template_fields``.
- `step` imports the core, calls one function of it, and returns a record or a dict. The result of another task arrives
  as a dict, from which `rendered_record` builds the record.
- `execute` opens the workspace, maps Keel's errors to Airflow's, and returns plain data for XCom.

Before any of it, `WorkspaceOperator.pre_execute` refuses parameters of the run that would have no effect.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from airflow.sdk import BaseOperator, BranchMixIn, XComArg, conf
from airflow.sdk.exceptions import AirflowFailException

from keel.config import get_model
from keel.errors import ConfigError, InvalidParameter, KeelError
from keel.monitoring.records import Record
from keel.window import parse_time
from keel_airflow.hooks import KEEL_CONN_ID, MLFLOW_CONN_ID, KeelHook
from keel_airflow.params import refuse_invalid

if TYPE_CHECKING:
    from airflow.sdk import Context

    from keel.config import ModelConfig
    from keel.workspace import Workspace

POLICY = "promotion"
"""The section of a model's configuration that a run cannot override."""
MEASURED = ("performance.metric", "performance.extra_metrics", "target.kind", "target.label_delay")
"""Further keys that a run cannot override: comparisons and experiments measure by them, and on labels of this age."""
ANONYMOUS = "Anonymous"
"""Airflow's name for every user where no login is configured."""


SCHEDULED_INTERVAL_END = (
    "{{ data_interval_end | default(none) if dag_run.run_type in ('scheduled', 'backfill') else none }}"
)
"""Template for the end of the schedule's interval, None for a run that a person, an asset or another run started.

Airflow's dialog *Trigger* fills a logical date, and gives the run the interval before it, which may end a week ago.
"""
CHECK_AGAIN = "check_again__"
"""How the ids of the runs begin that a check starts, because live alarms opened while it ran."""
TaskResult: TypeAlias = dict[str, Any] | XComArg | str
"""Result of another task: an ``XComArg`` or a template in a DAG file, and a dict when the task runs."""
T = TypeVar("T")
RecordT = TypeVar("RecordT", bound=Record)


class WorkspaceOperator(BaseOperator):
    """A step on the whole workspace, for no model in particular.

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

    def pre_execute(self, context: Context) -> None:
        """Refuse parameters of the run that would have no effect. Each DAG begins with a task of this class."""
        dag = context["dag"]
        with airflow_errors():
            refuse_invalid(context["dag_run"].conf or {}, context["params"], dag.params, dag_id=dag.dag_id)

    @contextmanager
    def workspace(self) -> Iterator[Workspace]:
        """Open the workspace, and map Keel's errors to Airflow's."""
        hook = KeelHook(keel_conn_id=self.keel_conn_id, mlflow_conn_id=self.mlflow_conn_id)
        with airflow_errors(), hook.get_conn() as workspace:
            yield workspace


class StepOperator(WorkspaceOperator):
    """One step on one model. A subclass implements `step`.

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
        """Open the workspace and the model's configuration for this run, and map Keel's errors to Airflow's."""
        with airflow_errors():
            config = configuration(self.model, self.overrides or {})
        with self.workspace() as workspace:
            yield workspace, config

    def step(self, workspace: Workspace, config: ModelConfig, context: Context) -> Record | dict[str, Any]:
        """Call one function of the core, and return its result."""
        raise NotImplementedError

    def run_step(self, context: Context) -> dict[str, Any]:
        """Run the step in an open workspace, and return its result as plain data."""
        with self.keel() as (workspace, config):
            result = self.step(workspace, config, context)
        return result if isinstance(result, dict) else result.to_dict()

    def execute(self, context: Context) -> Any:
        """Run the step, and return its result for XCom."""
        return self.run_step(context)


class DecisionStepOperator(StepOperator):
    """A step that carries out a decision.

    :param decision: result of the task that made the decision. (templated)
    """

    template_fields = (*StepOperator.template_fields, "decision")

    def __init__(self, *, decision: TaskResult, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.decision = decision


class BranchStepOperator(StepOperator, BranchMixIn):
    """A step whose result chooses which of the next tasks run. A subclass implements `step` and `choices`.

    :param branches: task id or task group id, by choice
    """

    inherits_from_skipmixin = True

    def __init__(self, *, branches: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.branches = branches

    def choices(self, result: dict[str, Any]) -> list[str]:
        """Return the keys of `branches` whose tasks run."""
        raise NotImplementedError

    def execute(self, context: Context) -> None:
        """Run the step, push its result, then skip the branches that it did not choose."""
        result = self.run_step(context)
        self.follow(context, result, *self.choices(result))

    def follow(self, context: Context, result: dict[str, Any], *choices: str) -> None:
        """Push the result, then skip every next task but the chosen ones. Skipping ends the task, so it comes last."""
        if unknown := set(choices) - set(self.branches):
            raise AirflowFailException(
                f"no branch for {', '.join(sorted(unknown))}; this DAG has {', '.join(self.branches)}"
            )
        context["ti"].xcom_push(key="return_value", value=result)
        self.do_branch(context, [self.branches[choice] for choice in choices])


@contextmanager
def airflow_errors() -> Iterator[None]:
    """Turn a permanent error of Keel's into one that Airflow does not retry; a transient error passes through."""
    try:
        yield
    except KeelError as error:
        if error.permanent:
            raise AirflowFailException(str(error)) from error
        raise


@contextmanager
def requested_values(*errors: type[KeelError]) -> Iterator[None]:
    """Turn errors of these classes into `InvalidParameter`: values that a person gave to the run cause them."""
    try:
        yield
    except InvalidParameter:
        raise
    except errors as error:
        raise InvalidParameter(str(error)) from error


def configuration(model: str, overrides: Mapping[str, Any] | str) -> ModelConfig:
    """Return the model's configuration with the overrides of one run.

    Raises
    ------
    InvalidParameter
        For a key that does not exist, a value that is not valid, and a key that a run cannot override: `POLICY` and
        `MEASURED` decide promotions, and a user who may start a run must not be able to pass them by a parameter.
    ConfigError
        The model's own configuration is not valid.

    """
    if isinstance(overrides, str):
        raise InvalidParameter(
            f"params.overrides: {overrides!r} is text, not an object such as {{'drift.alpha': 0.01}}"
        )
    policy = get_model(model)
    with requested_values(ConfigError):
        requested = policy.with_overrides(overrides, origin="params.overrides")
    touched = [str(key) for key in overrides if str(key).split(".")[0] == POLICY]
    # Compared by value, because an override can be written in several ways.
    measured = [name for name in MEASURED if attrgetter(name)(requested) != attrgetter(name)(policy)]
    if names := [*touched, *measured]:
        raise InvalidParameter(
            f"params.overrides: {', '.join(names)}: {POLICY if touched else names[0]} is the model's policy: "
            "change model.yaml or the environment"
        )
    return requested


def rendered(value: object, kind: type[T]) -> T:
    """Return a template field that must be of this type once Airflow has rendered it.

    Raises
    ------
    ConfigError
        When it is not, for example because the task that returns it was marked successful and never ran.

    """
    if not isinstance(value, kind):
        raise ConfigError(f"a task needs a {kind.__name__} from another task, and got {value!r}: clear that task first")
    return value


def rendered_record(value: object, kind: type[RecordT]) -> RecordT:
    """Return a template field as the record that another task returned; raises as `rendered` does."""
    return kind.from_dict(rendered(value, dict))


def rendered_id(result: object, name: str) -> str:
    """Return an id from the result of another task; empty where it has none, which no step finds in the store."""
    return str(rendered(result, dict).get(name) or "")


def first_time(*given: datetime | str | None) -> datetime:
    """Return the first time of several that a template may have left empty, as an aware UTC time.

    Raises
    ------
    ConfigError
        When all are empty, or one is no ISO 8601 time.

    """
    for time in map(parse_time, given):
        if time is not None:
            return time
    raise ConfigError("a time is missing: the run has none, and no parameter gives one")


def requested_by(context: Context) -> str:
    """Return the user who requested the run, ``airflow`` for a schedule.

    Read from the context, because native templates turn a user or a run named ``1_000`` into a number.
    """
    return str(context["dag_run"].triggering_user_name or "airflow")


def started_by_hand(context: Context) -> bool:
    """Whether a user started this run, and not a schedule, an asset or a task of another run."""
    dag_run = context["dag_run"]
    return dag_run.run_type == "manual" and is_logged_in(dag_run.triggering_user_name)


def is_check_again(context: Context) -> bool:
    """Whether a check started this run, because live alarms opened while it ran."""
    return context["dag_run"].run_type == "operator_triggered" and str(context["run_id"]).startswith(CHECK_AGAIN)


def is_logged_in(user: str | None) -> bool:
    """Whether a user name of Airflow's belongs to a user who has logged in.

    With ``simple_auth_manager_all_admins`` there is no login, and every user is called `ANONYMOUS`.
    """
    return bool(user) and user != ANONYMOUS


def run_url(context: Context) -> str:
    """Return the address of this run in Airflow's web interface."""
    base = conf.get("api", "base_url", fallback="http://localhost:8080").rstrip("/")
    return f"{base}/dags/{context['dag'].dag_id}/runs/{context['run_id']}"

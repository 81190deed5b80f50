from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
from types import SimpleNamespace

import pytest

from keel import errors
from tests.support.airflow.tide import tide_config

EXAMPLES = {
    errors.InsufficientData: errors.InsufficientData(feature="rows", needed=2, got=1),
    errors.UnknownModel: errors.UnknownModel("tied", ["tide"]),
}


def operator_classes():
    from airflow.sdk import BaseOperator

    import keel_airflow.operators as package

    modules = [importlib.import_module(f"{package.__name__}.{m.name}") for m in pkgutil.iter_modules(package.__path__)]
    found = {c for m in modules for c in vars(m).values() if inspect.isclass(c) and issubclass(c, BaseOperator)}
    return sorted((c for c in found if c.__module__.startswith(package.__name__)), key=lambda c: c.__name__)


def parameters(cls):
    """Return the constructor parameters of a class and its bases in Keel, by name."""
    own = [c for c in cls.__mro__ if "__init__" in vars(c) and c.__module__.startswith("keel_airflow")]
    return {
        name: parameter
        for c in own
        for name, parameter in inspect.signature(c.__init__).parameters.items()
        if name not in {"self", "kwargs", "branches"}
    }


def fields(cls):
    """Return the templated fields of a class without those of a provider's operator that it is made of."""
    provided = [c for c in cls.__mro__ if c.__module__.startswith("airflow.providers")]
    return set(cls.template_fields).difference(*(c.template_fields for c in provided))


def kinds(classes):
    return [pytest.param(c, id=c.__name__) for c in classes]


def test_operators_are_all_used_by_a_dag(monkeypatch):
    from tests.support.airflow.dag_bag import parse, parse_dag

    used = {type(task) for dag in parse().dags.values() for task in dag.tasks}
    monkeypatch.setenv("KEEL__TIDE__PROMOTION__APPROVAL", "required")
    used |= {type(task) for dag in parse().dags.values() for task in dag.tasks}
    routes = [{"channel": name, "to": "someone"} for name in ("slack", "teams", "pagerduty", "apprise")]
    for given in ({"email": "[]"}, {"routes": json.dumps(routes)}):  # nobody is told, and everybody by every channel
        for key, value in given.items():
            monkeypatch.setenv(f"KEEL__TIDE__ALERTS__{key.upper()}", value)
        used |= {type(task) for task in parse_dag("tide.rollback").tasks}
    used |= {getattr(task, "operator_class", None) for task in parse().dags["keel.maintenance"].tasks}
    used |= {base for cls in used if cls for base in cls.__mro__}

    assert set(operator_classes()) <= used


def test_constructors_only_assign_keyword_template_fields():
    for cls in operator_classes():
        given = {name: object() for name in parameters(cls) if name != "overrides"}
        branches = {"branches": {}} if "branches" in inspect.signature(cls.__init__).parameters else {}
        branches = {"branches": {}} if hasattr(cls, "follow") else branches
        provided = {"to": "a@example.com"} if "to" in cls.template_fields else {}

        operator = cls(task_id="probe", **given, **branches, **provided)

        assert {p.kind for p in parameters(cls).values()} == {inspect.Parameter.KEYWORD_ONLY}, cls
        assert fields(cls) == set(parameters(cls)), cls
        assert {name: getattr(operator, name) for name in given} == given, cls


def test_docstrings_name_every_templated_field():
    for cls in operator_classes():
        documented = "".join(c.__doc__ or "" for c in cls.__mro__ if c.__module__.startswith("keel_airflow"))
        for name in fields(cls):
            [line] = [line for line in documented.splitlines() if f":param {name}:" in line]
            assert line.endswith("(templated)"), f"{cls.__name__}: {line}"


@pytest.mark.parametrize(
    "error_class", [c for c in vars(errors).values() if inspect.isclass(c) and issubclass(c, errors.KeelError)]
)
def test_errors_fail_the_task_when_permanent_and_retry_when_transient(error_class, home):
    from airflow.sdk.exceptions import AirflowFailException

    from keel_airflow.operators.base import StepOperator

    raised = EXAMPLES.get(error_class) or error_class("the reason")
    operator = StepOperator(task_id="probe", model="tide", overrides={})

    with pytest.raises((AirflowFailException, errors.KeelError)) as caught, operator.keel():
        raise raised

    assert isinstance(caught.value, AirflowFailException) == error_class.permanent
    assert str(caught.value) == str(raised)


def test_overrides_change_the_configuration_and_suggest_a_misspelt_key(home):
    from airflow.sdk.exceptions import AirflowFailException

    from keel_airflow.operators.base import StepOperator

    with StepOperator(task_id="probe", model="tide", overrides={"drift.alpha": 0.01}).keel() as (_, config):
        assert config.drift.alpha == 0.01
        assert config == tide_config().with_overrides({"drift.alpha": 0.01})

    wrong = StepOperator(task_id="wrong", model="tide", overrides={"drift.alhpa": 0.01})
    with pytest.raises(AirflowFailException, match="params.overrides: drift.alhpa.*did you mean 'alpha'"), wrong.keel():
        pass


@pytest.mark.parametrize("overrides", [{"target.label_delay": "0s"}, {"target.label_delay": "9d"}])
def test_overrides_of_the_label_delay_are_refused(overrides, home):
    from airflow.sdk.exceptions import AirflowFailException

    from keel_airflow.operators.base import StepOperator

    operator = StepOperator(task_id="probe", model="tide", overrides=overrides)
    with pytest.raises(AirflowFailException, match="label_delay is the model's policy"), operator.keel():
        pass


EXPERIMENT = {
    "action": "start",
    "challenger": 2,
    "mode": "ab",
    "allocation": None,
    "ramp": None,
    "metric": None,
    "margin": None,
    "alpha": None,
    "max_outcomes": 100,
    "min_duration": None,
    "max_duration": None,
}
USER, RUN, REASON = "0x10", "1_000", "None"
NOW = "2024-03-05T00:00:00Z"
WINDOW = {"start": "2024-03-04T00:00:00+00:00", "end": "2024-03-05T00:00:00+00:00"}
COUNTED = {"model": "tide", "version": 1, "window": WINDOW, "rows": 9, "counted_hours": 1, "counted_rows": 9}
DECISION = {
    "decision_id": "d",
    "model": "tide",
    "version": 1,
    "window": WINDOW,
    "action": "retrain",
    "sentence": "Retraining.",
}
RECEIVED = [
    ("decide", "DecideOperator", {"counted": COUNTED}, (None, RUN, None)),
    ("request_retrain", "RequestRetrainOperator", {"now": NOW}, (None, RUN, REASON)),
    ("retrain", "RetrainOperator", {"decision": DECISION}, (USER, RUN, None)),
    ("quarantine", "QuarantineOperator", {"decision": DECISION}, (USER, RUN, None)),
    ("request_promotion", "RequestPromotionOperator", {"end": None, "now": NOW}, (USER, RUN, REASON)),
    ("stage", "StageOperator", {"comparison": {}}, (USER, RUN, None)),
    ("promote", "PromoteOperator", {"comparison": {}}, (USER, RUN, None)),
    ("keep_champion", "KeepChampionOperator", {"comparison": {}}, (USER, RUN, None)),
    ("request_rollback", "RequestRollbackOperator", {"now": NOW}, (USER, RUN, REASON)),
    ("rollback", "RollbackOperator", {"decision": {}}, (USER, RUN, None)),
    ("rollback", "RollbackOperator", {"decision": {}, "actor": "keel"}, ("keel", RUN, None)),
    ("confirm", "ConfirmOperator", {"decision": {}}, ("keel", RUN, None)),
    ("reconcile", "ReconcileOperator", {}, (USER, RUN, None)),
    ("watch_deployment", "WatchDeploymentOperator", {"findings": {"model": "tide"}, "end": NOW}, (None, RUN, None)),
    ("start_experiment", "ExperimentOperator", {"start_at": None, "now": NOW}, (USER, RUN, REASON)),
    ("conclude_experiment", "ConcludeExperimentOperator", {"decision": {}}, ("keel", RUN, None)),
]
"""The core's step, its operator, the operator's fields, and the actor, run and reason that the step receives."""


@pytest.mark.parametrize(("step", "name", "given", "expected"), RECEIVED)
def test_users_runs_and_reasons_reach_the_step_as_text(home, monkeypatch, step, name, given, expected):
    """A native template would turn the text 1_000 into a number, and None into no value."""
    from keel import loop, rollout
    from keel_airflow.operators.base import BranchStepOperator

    received = []

    def note(*_, actor=None, run_id=None, reason=None, **__):
        received.append((actor, run_id, reason))
        return {"action": "all_clear", "branch": "no_action"}

    monkeypatch.setattr(rollout if hasattr(rollout, step) else loop, step, note)
    monkeypatch.setattr(BranchStepOperator, "follow", lambda *_: None)
    [cls] = [c for c in operator_classes() if c.__name__ == name]
    branches = {"branches": {}} if issubclass(cls, BranchStepOperator) else {}

    cls(task_id="probe", model="tide", overrides={}, **given, **branches).execute(
        {
            "run_id": RUN,
            "dag_run": SimpleNamespace(triggering_user_name=USER, run_id=RUN),
            "params": {"reason": REASON, "version": None, "force": False, "experiment": None, **EXPERIMENT},
        }
    )

    assert received == [expected]
    assert {"run_id", "reason"} & set(cls.template_fields) == set()


def test_unknown_model_fails_and_suggests_a_known_one(home):
    from airflow.sdk.exceptions import AirflowFailException

    from keel_airflow.operators.base import StepOperator

    operator = StepOperator(task_id="probe", model="tied", overrides={})
    with pytest.raises(AirflowFailException, match="no model named 'tied'.*did you mean 'tide'"), operator.keel():
        pass


def test_action_without_a_branch_fails():
    from airflow.sdk.exceptions import AirflowFailException

    from keel_airflow.operators.monitoring import DecideOperator

    operator = DecideOperator(task_id="decide", model="tide", counted={}, branches={"all_clear": "all_clear"})

    with pytest.raises(AirflowFailException, match="no branch for retrain; this DAG has all_clear"):
        operator.follow({}, {"action": "retrain"}, "retrain")

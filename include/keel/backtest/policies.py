"""Policies: which settings the model has, when it is retrained, and whether the gate decides about a promotion."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import yaml

from keel.errors import ConfigError, suggestion

if TYPE_CHECKING:
    from keel.config import ModelConfig

When = Literal["check", "never", "step", "month"]

ASSUMED: dict[str, Any] = {
    "promotion.approval": "auto",
    "promotion.approvers": (),
    "promotion.max_slowdown": None,
    "promotion.max_latency_ms": None,
    "promotion.max_size_mb": None,
}
"""Settings of every policy: a person would have approved, and no limit on speed or size decides.

The speed of this machine today says nothing about the past, and would give another result at each run.
"""
FIXED = ("model", "target", "features", "predictions", "performance.metric")
"""Keys that no policy may change, because policies are compared on the same rows by the same metric."""
MAX_POLICIES = 5
"""Policies of one backtest. More lines cannot be told apart in one chart."""
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,29}")
_NEXT = re.compile(r",(?=[a-z_.]+=)")


@dataclass(frozen=True)
class Policy:
    """A way to run the model."""

    name: str
    when: When = "check"
    """What starts a retraining: the check, nothing, every step, or the first step of a calendar month."""
    gate: bool = True
    """Whether a challenger must be shown to be better; without, every trained version is promoted."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Dotted keys of the model's configuration, with their values."""

    @property
    def description(self) -> str:
        """What the policy does, in one sentence."""
        what = {
            "check": "retrains when the check decides so",
            "never": "never retrains, and only alerts",
            "step": "retrains at every step, whatever the check says",
            "month": "retrains every month, whatever the check says",
        }[self.when]
        gate = "promotes what the gate lets pass" if self.gate else "promotes every version without a gate or probation"
        changed = ", ".join(f"{key} = {_flow(value)}" for key, value in self.settings.items())
        sentence = what if self.when == "never" else f"{what}, and {gate}"
        return f"{sentence[0].upper()}{sentence[1:]}{changed and f'; with {changed}'}."

    @property
    def option(self) -> str:
        """The text from which `parse_policy` makes this policy."""
        base = PRESETS.get(self.name, Policy(self.name))
        own: dict[str, str] = {} if self.when == base.when else {"when": self.when}
        own |= {} if self.gate == base.gate else {"gate": "on" if self.gate else "off"}
        pairs = [*own.items(), *((key, _flow(value)) for key, value in self.settings.items())]
        return self.name + (":" if pairs else "") + ",".join(f"{key}={value}" for key, value in pairs)

    def configure(self, config: ModelConfig) -> ModelConfig:
        """Return the model's configuration under this policy.

        Raises
        ------
        ConfigError
            A key is unknown or its value not valid, or every policy must have the same.

        """
        origin = f"--policy {self.name}"
        for key in self.settings:
            if fixed := next((name for name in FIXED if key == name or key.startswith(f"{name}.")), None):
                raise ConfigError(f"{origin}: {key}: {fixed} is the same for all policies of a backtest")
        changed = config.with_overrides(self.settings, origin=origin).with_overrides(ASSUMED, origin=origin)
        if changed.retrain is None:
            raise ConfigError(f"{origin}: retrain: a policy has this section; for none, use --policy never")
        if changed.performance.metric != config.performance.metric:
            raise ConfigError(f"{origin}: performance.metric is the same for all policies of a backtest")
        return changed


PRESETS = {
    "default": Policy("default"),
    "never": Policy("never", when="never"),
    "always": Policy("always", when="step", gate=False),
    "monthly": Policy("monthly", when="month"),
}
DEFAULT_POLICIES = ("default", "never", "always")
"""The policies of a backtest that names none."""
VARIANT = "variant"
"""The name of the policy that ``--set`` describes."""


def choose_policies(named: Sequence[str], changed: Sequence[str] = ()) -> tuple[Policy, ...]:
    """Return the policies of a backtest.

    named: each as `parse_policy` reads it; none means `DEFAULT_POLICIES`. changed: each ``key=value``, together one
    more policy.
    """
    policies = [parse_policy(text) for text in named or DEFAULT_POLICIES]
    if changed:
        place = 1 if policies[0] == PRESETS["default"] else 0
        policies.insert(place, Policy(VARIANT, settings=parse_settings(changed, origin="--set")))
    names = [policy.name for policy in policies]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"--policy {twice}: two policies have this name")
    if len(policies) > MAX_POLICIES:
        raise ConfigError(f"--policy: {len(policies)} policies; a backtest compares at most {MAX_POLICIES}")
    return tuple(policies)


def parse_policy(text: str) -> Policy:
    """Return a policy from ``NAME`` or ``NAME:key=value,…``.

    A name of `PRESETS` begins with that policy, any other with the model's settings. The keys ``when`` (check, never,
    step, month) and ``gate`` (on, off) belong to the policy; all others are dotted keys of ``model.yaml``.

    >>> parse_policy("always:gate=on"), parse_policy("calm:drift.psi_alert=0.4").settings
    (Policy(name='always', when='step', gate=True, settings={}), {'drift.psi_alert': 0.4})
    """
    name, _, rest = text.partition(":")
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"--policy {text!r}: a policy is NAME or NAME:key=value,…; a name has small letters, digits, - and _"
        )
    if not rest and name not in PRESETS:
        raise ConfigError(
            f"--policy {name}: no such policy{suggestion(name, PRESETS)}; there are {', '.join(PRESETS)}; for one of "
            f"your own, write {name}:key=value"
        )
    settings = parse_settings(_NEXT.split(rest) if rest else [], origin=f"--policy {name}")
    base = PRESETS.get(name, Policy(name))
    when = settings.pop("when", base.when)
    if when not in get_args(When):
        raise ConfigError(f"--policy {name}: when={when}: choose from {', '.join(get_args(When))}")
    if name in PRESETS and when != base.when:
        raise ConfigError(
            f"--policy {name}: when={when}: the policy {name} has another one, {base.when}; choose a name of your own, "
            f"such as mine:when={when}"
        )
    gate = settings.pop("gate", base.gate)
    if not isinstance(gate, bool):
        raise ConfigError(f"--policy {name}: gate={gate}: choose on or off")
    return Policy(name, cast("When", when), gate, settings)


def parse_settings(pairs: Sequence[str], *, origin: str) -> dict[str, Any]:
    """Return dotted keys and their values from texts ``key=value``, whose values are YAML."""
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key.strip():
            raise ConfigError(f"{origin} {pair!r}: write key=value, such as drift.psi_alert=0.2")
        try:
            settings[key.strip()] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError) as error:
            raise ConfigError(f"{origin} {key}: {value[:200]!r} is not a YAML value: {error}") from None
    return settings


def _flow(value: object) -> str:
    """Return a value as YAML on one line.

    >>> _flow(0.2), _flow("7d"), _flow(["a", "b"]), _flow(None)
    ('0.2', '7d', '[a, b]', 'null')
    """
    return str(yaml.safe_dump(value, default_flow_style=True, width=10_000)).removesuffix("\n...\n").strip()

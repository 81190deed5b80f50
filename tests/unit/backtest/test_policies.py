"""Policies from the texts of a command line."""

from __future__ import annotations

from datetime import timedelta

import pytest

from keel.backtest.policies import MAX_POLICIES, PRESETS, Policy, choose_policies, parse_policy
from keel.errors import ConfigError
from tests.support.backtest.plans import past_config


def test_choose_policies_of_nothing_returns_default_never_and_always():
    assert [policy.name for policy in choose_policies(())] == ["default", "never", "always"]


def test_choose_policies_with_settings_puts_one_variant_after_the_default():
    chosen = choose_policies((), ["drift.psi_alert=0.4", "check.lookback=3d"])
    assert [policy.name for policy in chosen] == ["default", "variant", "never", "always"]
    assert chosen[1].settings == {"drift.psi_alert": 0.4, "check.lookback": "3d"}


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("monthly", PRESETS["monthly"]),
        ("always:gate=on", Policy("always", when="step", gate=True)),
        ("calm:drift.psi_alert=0.4,when=month", Policy("calm", when="month", settings={"drift.psi_alert": 0.4})),
        (
            "two:performance.extra_metrics=[roc_auc,log_loss],drift.alpha=0.01",
            Policy("two", settings={"performance.extra_metrics": ["roc_auc", "log_loss"], "drift.alpha": 0.01}),
        ),
    ],
)
def test_parse_policy_reads_names_keys_and_lists_and_its_option_says_the_same(text, policy):
    assert parse_policy(text) == policy
    assert parse_policy(policy.option) == policy


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["nevr"], "did you mean 'never'"),
        (["Never"], "small letters"),
        ([""], "NAME"),
        (["../up"], "small letters"),
        (["calm:"], "no such policy"),
        (["calm:drift.psi_alert"], "write key=value"),
        (["calm:when=yearly"], "choose from check, never, step, month"),
        (["never:when=step"], "--policy never: when=step: the policy never has another one, never; choose a name of"),
        (["always:when=check"], "choose a name of your own, such as mine:when=check"),
        (["calm:gate=maybe"], "choose on or off"),
        (["calm:drift.alpha=[0.1"], "not a YAML value"),
        (["never", "never"], "two policies have this name"),
        ([f"p{i}:gate=on" for i in range(MAX_POLICIES + 1)], f"at most {MAX_POLICIES}"),
    ],
)
def test_choose_policies_of_what_is_no_policy_names_it_and_the_way_out(texts, message):
    with pytest.raises(ConfigError, match=message.replace("[", r"\[")) as found:
        choose_policies(texts)
    assert "--policy" in str(found.value)
    assert found.value.exit_code == 2


def test_configure_replaces_settings_and_assumes_approval_without_limits_on_speed():
    config = past_config(promotion={"approval": "required", "approvers": ["ada"], "max_slowdown": 2, "margin": 0.1})
    changed = parse_policy("calm:check.lookback=2d").configure(config)
    assert changed.check.lookback == timedelta(days=2)
    assert changed.promotion.approval == "auto"
    assert not changed.promotion.measures_speed
    assert changed.promotion.margin == 0.1


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("drift.psi_alrt=0.3", "did you mean 'psi_alert'"),
        ("drift.alpha=2", "less than 1"),
        ("retrain=null", "--policy never"),
        ("performance.metric=log_loss", "the same for all policies"),
        ("target.label_delay=2d", "the same for all policies"),
        ("features.more=numeric", "the same for all policies"),
    ],
)
def test_configure_with_a_setting_that_no_policy_can_have_names_policy_and_key(setting, message):
    with pytest.raises(ConfigError, match=message) as found:
        parse_policy(f"mine:{setting}").configure(past_config())
    assert "--policy mine" in str(found.value)
    assert setting.partition("=")[0].rpartition(".")[2] in str(found.value) or "features" in str(found.value)

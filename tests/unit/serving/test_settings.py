"""Settings: from defaults, the environment and options; invalid values raise errors that name the variable."""

from __future__ import annotations

from pathlib import Path

import pytest

from keel.errors import ConfigError
from keel.serving.prediction_log.spool import Durability
from keel.serving.settings import MAX_BODY, Settings


def test_settings_by_default_use_loopback_and_survive_power_loss():
    found = Settings.from_environment({})
    assert (found.host, found.port, found.workers, found.models) == ("127.0.0.1", 8090, 1, ())
    assert found.max_body == MAX_BODY == 16 * 2**20
    assert found.poll_seconds == 2.0
    assert found.durability is Durability.FSYNC
    assert found.spool_folder(Path("home")) == Path("home/spool")


def test_settings_are_read_from_the_environment_and_options_take_precedence(tmp_path):
    environment = {
        "KEEL_SERVING_HOST": "0.0.0.0",
        "KEEL_SERVING_PORT": "9001",
        "KEEL_SERVING_WORKERS": "3",
        "KEEL_SERVING_MAX_BODY": "2M",
        "KEEL_SERVING_POLL": "0.5s",
        "KEEL_API_KEYS_FILE": str(tmp_path / "keys"),
        "KEEL_SPOOL": str(tmp_path / "spool"),
        "KEEL_SPOOL_DURABILITY": "WRITE",
        "KEEL_SPOOL_MAX_BYTES": "3 GiB",
        "KEEL_HOME": str(tmp_path),
        "KEEL_SERVING_RECEIVE": "5",
        "KEEL_SERVING_CONNECTIONS": "50",
        "KEEL_SERVING_HOSTS": "keel.example.org, keel",
    }
    assert set(environment) == set(Settings.variables().values())
    found = Settings.from_environment(environment, port=9002, models=("toy",), workers=None)
    assert found == Settings(
        host="0.0.0.0",
        port=9002,
        workers=3,
        models=("toy",),
        home=tmp_path,
        keys_file=tmp_path / "keys",
        spool=tmp_path / "spool",
        durability=Durability.WRITE,
        spool_bytes=3 * 2**30,
        max_body=2 * 2**20,
        poll_seconds=0.5,
        receive_seconds=5.0,
        connections=50,
        hosts=("keel.example.org", "keel"),
    )


@pytest.mark.parametrize("settings", [Settings(), Settings(port=8091, models=("toy",), home=Path("h"), worker=3)])
def test_settings_written_as_json_are_read_back_equal(settings):
    assert Settings.model_validate_json(settings.model_dump_json()) == settings


def test_settings_read_neither_environment_nor_empty_variables_unasked(monkeypatch):
    monkeypatch.setenv("KEEL_SERVING_PORT", "9001")
    assert Settings().port == 8090
    assert Settings.from_environment({"KEEL_SERVING_PORT": " "}).port == 8090
    assert Settings.from_environment().port == 9001


def test_settings_expand_the_home_folder():
    assert Settings.from_environment({"KEEL_SPOOL": "~/spool"}).spool == Path.home() / "spool"


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("KEEL_SERVING_PORT", "http", "valid integer"),
        ("KEEL_SERVING_PORT", "70000", "less than or equal to 65535"),
        ("KEEL_SERVING_WORKERS", "0", "greater than or equal to 1"),
        ("KEEL_SERVING_WORKERS", "65", "less than or equal to 64"),
        ("KEEL_SERVING_MAX_BODY", "-1", "must be a size"),
        ("KEEL_SERVING_MAX_BODY", "12", "greater than or equal to 1024"),
        ("KEEL_SERVING_POLL", "soon", "valid number"),
        ("KEEL_SERVING_POLL", "nan", "finite number"),
        ("KEEL_SERVING_RECEIVE", "0", "greater than or equal to 0.05"),
        ("KEEL_SERVING_CONNECTIONS", "0", "greater than or equal to 1"),
        ("KEEL_SERVING_CONNECTIONS", "100001", "less than or equal to 100000"),
        ("KEEL_SPOOL_DURABILITY", "fsnyc", "did you mean 'fsync'"),
        ("KEEL_SPOOL_MAX_BYTES", "lots", "must be a size"),
    ],
)
def test_settings_with_an_invalid_value_name_variable_value_and_reason(variable, value, reason):
    with pytest.raises(ConfigError) as caught:
        Settings.from_environment({variable: value})
    message = str(caught.value)
    assert message.startswith(f"{variable}: ")
    assert value in message
    assert reason in message


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.7", "::", "serving.example.com"])
def test_settings_without_keys_refuse_hosts_beyond_loopback(host):
    with pytest.raises(ConfigError, match="KEEL_API_KEYS_FILE"):
        Settings(host=host)
    assert Settings(host=host, keys_file=Path("keys")).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_settings_on_loopback_need_no_keys(host):
    assert Settings(host=host).on_loopback


@pytest.mark.parametrize(
    ("hosts", "keys", "own", "foreign"),
    [
        ((), None, [], ["example.org", "", "localhost.example.org", "192.0.2.7:8090"]),
        (("Keel.example.org",), None, ["keel.example.org:8090"], ["example.org"]),
        (("keel",), Path("keys"), ["keel:80"], ["example.org"]),
    ],
)
def test_own_hosts_are_local_names_and_the_configured_ones(hosts, keys, own, foreign):
    is_own = Settings(hosts=hosts, keys_file=keys).own_hosts()
    local = ["localhost:8090", "127.0.0.1", "[::1]:8090", "LOCALHOST.", "127.1.2.3:1"]
    assert [host for host in own + local if not is_own(host)] == []
    assert [host for host in foreign if is_own(host)] == []


@pytest.mark.parametrize("settings", [Settings(keys_file=Path("keys")), Settings(hosts=("*",))])
def test_own_hosts_are_any_with_keys_or_a_star(settings):
    assert settings.own_hosts() is None

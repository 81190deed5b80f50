"""How the scoring service is told to run, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from keel.errors import ConfigError
from keel.serving.prediction_log.spool import Durability
from keel.serving.process.supervisor import dump, load
from keel.serving.settings import MAX_BODY, Settings


def test_without_a_word_it_listens_on_loopback_and_keeps_what_it_answers_through_power_loss():
    found = Settings.from_environment({})
    assert (found.host, found.port, found.workers, found.models) == ("127.0.0.1", 8090, 1, ())
    assert found.max_body == MAX_BODY == 16 * 2**20
    assert found.poll_seconds == 2.0
    assert found.durability is Durability.FSYNC
    assert found.spool_folder(Path("home")) == Path("home/spool")


def test_the_environment_says_everything_and_options_win(tmp_path):
    environment = {
        "KEEL_SERVING_HOST": "0.0.0.0", "KEEL_SERVING_PORT": "9001", "KEEL_SERVING_WORKERS": "3",
        "KEEL_SERVING_MAX_BODY": "2M", "KEEL_SERVING_POLL": "0.5s", "KEEL_API_KEYS_FILE": str(tmp_path / "keys"),
        "KEEL_SPOOL": str(tmp_path / "spool"), "KEEL_SPOOL_DURABILITY": "WRITE", "KEEL_SPOOL_MAX_BYTES": "3 GiB",
        "KEEL_HOME": str(tmp_path), "KEEL_SERVING_RECEIVE": "5", "KEEL_SERVING_CONNECTIONS": "50",
    }  # fmt: skip
    found = Settings.from_environment(environment, port=9002, models=("toy",), workers=None)
    assert found == Settings(
        host="0.0.0.0", port=9002, workers=3, models=("toy",), home=tmp_path, keys_file=tmp_path / "keys",
        spool=tmp_path / "spool", durability=Durability.WRITE, spool_bytes=3 * 2**30, max_body=2 * 2**20,
        poll_seconds=0.5, receive_seconds=5.0, connections=50,
    )  # fmt: skip
    assert load(dump(found)) == found


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("KEEL_SERVING_PORT", "http", "'http' is not a whole number"),
        ("KEEL_SERVING_PORT", "70000", "70000 is no port"),
        ("KEEL_SERVING_WORKERS", "0", "between 1 and 64"),
        ("KEEL_SERVING_MAX_BODY", "-1", "'-1' is no size"),
        ("KEEL_SERVING_MAX_BODY", "12", "1k at least"),
        ("KEEL_SERVING_POLL", "soon", "'soon' is not a number of seconds"),
        ("KEEL_SERVING_POLL", "nan", "must lie between"),
        ("KEEL_SERVING_RECEIVE", "0", "must lie between"),
        ("KEEL_SERVING_CONNECTIONS", "0", "between 1 and 100,000"),
        ("KEEL_SPOOL_DURABILITY", "fsnyc", "did you mean 'fsync'"),
        ("KEEL_SPOOL_MAX_BYTES", "lots", "'lots' is no size"),
    ],
)
def test_what_cannot_be_used_is_named(name, value, said):
    with pytest.raises(ConfigError) as caught:
        Settings.from_environment({name: value})
    assert said in str(caught.value)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.7", "::", "serving.example.com"])
def test_without_keys_it_listens_to_this_machine_only_and_says_what_to_do(host):
    with pytest.raises(ConfigError, match="KEEL_API_KEYS_FILE"):
        Settings(host=host)
    assert Settings(host=host, keys_file=Path("keys")).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_needs_no_keys(host):
    assert Settings(host=host).on_loopback

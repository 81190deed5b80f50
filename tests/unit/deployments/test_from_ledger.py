"""What the ledger alone says of versions: found by number and alias, and which was where at a time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from keel.deployments.from_ledger import deployed_at, deployment_changes, find_version, recorded_versions
from keel.errors import UnknownVersion
from keel.ledger.entries import Action, Entry

RECORDED = datetime(2026, 3, 2, tzinfo=UTC)
FIRST, SECOND = datetime(2013, 4, 1, tzinfo=UTC), datetime(2013, 7, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def deployed(production: int | None = None, previous: int | None = None, staging: int | None = None) -> dict[str, Any]:
    return {"production": production, "staging": staging, "previous": previous}


def entry(seq: int, action: Action, generation: int = 0, **body: Any) -> Entry:
    return Entry(seq, "toy", RECORDED + seq * HOUR, "ada", action, generation, generation, body, "", "")


def registered(seq: int, version: int, parent: str = "") -> Entry:
    tags = {
        "keel.reason": "Requested.",
        "keel.parent": parent,
        "keel.training_start": "2013-01-01T00:00:00+00:00",
        "keel.training_end": "no time",
    }
    return entry(
        seq,
        Action.REGISTER,
        artifacts={"version": version, "run_id": f"run{version}", "files": {}},
        evidence={"tags": tags},
        statuses={str(version): {"status": "candidate", "reason": "registered"}},
    )


def promoted(seq: int, version: int, since: datetime, before: int | None) -> Entry:
    statuses = {str(version): {"status": "production", "reason": "promoted"}}
    if before is not None:
        statuses[str(before)] = {"status": "previous", "reason": "replaced"}
    until = since + timedelta(days=7)
    probation = {"version": version, "previous": before, "since": since.isoformat(), "until": until.isoformat()}
    after = deployed(version, before)
    was = deployed(before)
    return entry(seq, Action.PROMOTE, 1, **{"from": was, "to": after}, probation=probation, statuses=statuses)


ROWS = [
    registered(1, 1),
    promoted(2, 1, FIRST, None),
    entry(3, Action.CONFIRM, 1, **{"from": deployed(1), "to": deployed(1)}, probation=None),
    registered(4, 2, parent="1"),
    promoted(5, 2, SECOND, 1),
]
ROLLBACK = entry(
    6,
    Action.ROLLBACK,
    2,
    **{"from": deployed(2, 1), "to": deployed(1)},
    # a rollback resumes the probation of its version
    probation={"version": 1, "previous": None, "since": FIRST.isoformat(), "until": SECOND.isoformat()},
    statuses={"1": {"status": "production", "reason": "back"}, "2": {"status": "quarantined", "reason": "harm"}},
)


def test_versions_have_their_status_and_where_they_come_from() -> None:
    first, second = recorded_versions(ROWS)
    assert (first.status, first.alias, first.parent, first.run_id) == ("previous", "previous", None, "run1")
    assert (second.status, second.alias, second.parent, second.since) == (
        "production",
        "production",
        1,
        RECORDED + 5 * HOUR,
    )
    assert second.training_start == datetime(2013, 1, 1, tzinfo=UTC)
    assert second.training_end is None
    assert recorded_versions([]) == []


def test_changes_are_those_of_the_deployment_in_the_datas_time() -> None:
    changes = deployment_changes([*ROWS, ROLLBACK])
    assert [(each.action, each.production, each.since) for each in changes] == [
        ("promote", 1, FIRST),
        ("promote", 2, SECOND),
        ("rollback", 1, RECORDED + 6 * HOUR),
    ]


@pytest.mark.parametrize(
    ("at", "production"),
    [
        (FIRST - HOUR, None),
        (FIRST, 1),
        (SECOND - HOUR, 1),
        (SECOND, 2),
        (RECORDED + 5 * HOUR, 2),
        (RECORDED + 6 * HOUR, 1),
    ],
)
def test_deployed_at_a_time_is_the_last_change_until_then(at: datetime, production: int | None) -> None:
    found = deployed_at(deployment_changes([*ROWS, ROLLBACK]), at)
    assert (found.production if found else None) == production


@pytest.mark.parametrize(("name", "version"), [("1", 1), (2, 2), ("production", 2), ("previous", 1), (" 2 ", 2)])
def test_version_is_found_by_number_and_alias(name: str | int, version: int) -> None:
    assert find_version(ROWS, "toy", name) == version


@pytest.mark.parametrize("name", ["3", "0", "-1", "1.0", "staging", "", "²", "9" * 5000, "producton", True])
def test_unknown_version_names_those_that_there_are(name: Any) -> None:
    with pytest.raises(UnknownVersion, match="versions: 1, 2; deployed: production 2, previous 1"):
        find_version(ROWS, "toy", name)
    with pytest.raises(UnknownVersion, match="none"):
        find_version([], "toy", "1")

"""The stored form of a model's live monitors: plain numbers with a format version, restored exactly.

One run of the monitors goes from a start to the next one: a deployment, changed settings, a damaged state. What is
fixed for a run is in `RunHeader`; what changes with every block is in the groups' arrays and in the marks of alarms.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from keel.errors import SchemaError
from keel.monitoring.live.promise import Promise

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT = 1
"""Increased when the bytes change their meaning. Older releases then start the monitors afresh."""
_MAGIC = b"keel live state "
_DIGEST = 32


@dataclass(frozen=True)
class RunHeader:
    """What is fixed for one run of a model's monitors."""

    model: str
    version: int
    started_at: datetime
    """By the clock."""
    since: datetime
    """When the version went into production, in the data's own time."""
    settings: Mapping[str, Any]
    """The settings that the monitors were made with. With others they start afresh."""
    promise: Promise
    reference: str
    """SHA-256 of the stored reference, in hexadecimal."""
    remarks: tuple[str, ...] = ()
    """Sentences about what is not monitored, or with less power, and why."""


@dataclass
class Mark:
    """What a monitor remembers of its open alarm."""

    alarm_id: str
    block: int
    """The group's blocks when it opened."""
    rows: int
    """Rows since the estimated start of the change, then."""
    until: int = 0
    """Of a mean loss whose alarm an earlier run opened: the arrival number up to which that one had read. 0: none, or
    this run has found the same."""


@dataclass
class SavedState:
    """Everything that a run of the monitors needs to go on, but the reference."""

    header: RunHeader
    groups: dict[str, dict[str, NDArray[Any]]]
    """The arrays of each group by its kind."""
    rows: int = 0
    """Predictions read since the start."""
    marks: dict[str, Mark] = field(default_factory=dict)
    """By monitor, such as ``shift:distance``, those with an open alarm."""
    restarted: dict[str, int] = field(default_factory=dict)
    """By monitor, the group's blocks when it was last restarted by itself."""

    def to_bytes(self) -> bytes:
        """Return the state as bytes. Equal states give equal bytes."""
        arrays = {f"{kind}/{name}": array for kind, group in self.groups.items() for name, array in group.items()}
        header = {
            **asdict(self.header),
            "started_at": self.header.started_at.isoformat(),
            "since": self.header.since.isoformat(),
            "groups": list(self.groups),
            "rows": self.rows,
            "marks": {name: asdict(mark) for name, mark in self.marks.items()},
            "restarted": self.restarted,
        }
        buffer = io.BytesIO()
        text = json.dumps(header, sort_keys=True).encode()
        np.savez(buffer, header=np.frombuffer(text, dtype=np.uint8), **arrays)  # type: ignore[arg-type]
        content = buffer.getvalue()
        return _MAGIC + b"%d\n" % FORMAT + hashlib.sha256(content).digest() + content

    @classmethod
    def from_bytes(cls, data: bytes) -> SavedState:
        """Read the bytes that `to_bytes` wrote.

        Raises
        ------
        SchemaError
            The bytes are damaged, are something else, or have the format of another release.

        """
        content = _checked(data)
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            values = json.loads(arrays.pop("header").tobytes())
            groups: dict[str, dict[str, NDArray[Any]]] = {kind: {} for kind in values.pop("groups")}
            for name, array in arrays.items():
                kind, _, own = name.partition("/")
                groups[kind][own] = array
            rows, restarted = values.pop("rows"), values.pop("restarted")
            marks = {name: Mark(**mark) for name, mark in values.pop("marks").items()}
            return cls(_header(values), groups, rows, marks, restarted)
        except (OSError, ValueError, KeyError, TypeError, IndexError, EOFError) as error:
            raise SchemaError(f"it cannot be read: {type(error).__name__}") from error


def _checked(data: bytes) -> bytes:
    """Return the content behind the format and the checksum."""
    first, line_end, rest = data.partition(b"\n")
    if not line_end or not first.startswith(_MAGIC):
        raise SchemaError("it is damaged: it does not begin as a state does")
    written = first.removeprefix(_MAGIC)
    if written != b"%d" % FORMAT:
        raise SchemaError(
            f"it has format {written[:20].decode('ascii', 'replace')}; this release of Keel reads {FORMAT}"
        )
    if hashlib.sha256(rest[_DIGEST:]).digest() != rest[:_DIGEST]:
        raise SchemaError("it is damaged: its checksum differs")
    return rest[_DIGEST:]


def _header(values: dict[str, Any]) -> RunHeader:
    times = {name: datetime.fromisoformat(values[name]) for name in ("started_at", "since")}
    promise, remarks = Promise(**values["promise"]), tuple(values["remarks"])
    return RunHeader(**{**values, **times, "promise": promise, "remarks": remarks})

"""Which versions answer: what the store says is deployed, loaded, warmed and swapped without a gap."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from keel.config import ModelConfig
    from keel.serving.inputs import Inputs
    from keel.workspace import Workspace

POLL_SECONDS = 2.0


@dataclass(frozen=True)
class Served:
    """What a model's requests are answered with, as of one moment; a request keeps the one it began with.

    production: the version that answers. challenger, plan: of the experiment that runs, both or neither.
    """

    model: str
    inputs: Inputs
    production: Any
    challenger: Any = None
    plan: Any = None


class Deployed:
    """The versions of all configured models, kept as the store says.

    ``start`` polls in a thread; ``refresh`` is one poll, for tests. A version that cannot be loaded, and a store or
    registry that does not answer, leave what is served as it is.
    """

    def __init__(
        self, workspace: Workspace, models: Iterable[ModelConfig], *, poll_seconds: float = POLL_SECONDS
    ) -> None:
        self.workspace, self.models, self.poll_seconds = workspace, list(models), poll_seconds

    def start(self) -> None:
        """Begin to poll and to load, in threads of its own."""

    def refresh(self) -> None:
        """Poll once and load what is missing, here and now."""

    def close(self) -> None:
        """End the threads."""

    def for_model(self, model: str) -> Served:
        """Return what answers now.

        Raises
        ------
        UnknownModel
            No such model is configured (404).
        NoProductionVersion
            It has no version in production, or none is loaded yet (503); the message says which.

        """
        raise NotImplementedError

    @property
    def ready(self) -> bool:
        """Whether every model that has a production version has one loaded, and the store was read at least once."""
        return False

    def state(self) -> Mapping[str, Any]:
        """Return what is loaded, wanted and wrong, by model, for ``/version`` and ``/metrics``."""
        return {}

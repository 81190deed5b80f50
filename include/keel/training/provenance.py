"""Record what a version is made from: digests of its rows and pipeline, and the revision of the code."""

from __future__ import annotations

import hashlib
import os
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from keel.errors import ConfigError
from keel.registry.project_code import sources_of
from keel.training.pipeline import described


def table_digest(table: pa.Table) -> str:
    """Return the SHA-256 of a table's content, independent of its chunks and of the width of its offsets."""
    digest = hashlib.sha256()
    digest.update(table.schema.remove_metadata().to_string().encode())
    with pa.ipc.new_stream(pa.PythonFile(_Hashing(digest), "w"), table.schema.remove_metadata()) as writer:
        for batch in table.combine_chunks().to_batches(max_chunksize=65_536):
            # A slice shares its parent's buffers; taking its rows copies only its own.
            writer.write_batch(batch.take(pa.array(np.arange(batch.num_rows))))
    return digest.hexdigest()


def pipeline_digest(module: str) -> str:
    """Return the SHA-256 of the pipeline's source and of what it imports from its own top-level package.

    See `keel.registry.project_code.sources_of`. Empty files do not count. `ConfigError` if there is no such module.
    """
    try:
        spec = find_spec(module)
    except (ModuleNotFoundError, ValueError):  # `ValueError` for the name ".pipeline"
        spec = None
    except Exception as error:  # a parent package is imported
        raise ConfigError(f"retrain.pipeline: {module!r} cannot be imported: {described(error)}") from error
    if spec is None or spec.origin is None:
        raise ConfigError(f"retrain.pipeline: no module named {module!r} on PYTHONPATH")
    own = Path(spec.origin).read_bytes()
    sources = {name: file.read_bytes() for name, file in sources_of([module]).items()}
    others = {name: hashlib.sha256(source).hexdigest() for name, source in sources.items() if source and name != module}
    digest = hashlib.sha256(own).hexdigest()
    # a pipeline of one file has the same digest as in Keel 0.1
    return digest_of(digest, *(part for item in others.items() for part in item)) if others else digest


def code_revision() -> str:
    """Return the project's revision: ``KEEL_CODE_REVISION``, else git's, else ``unknown``."""
    if revision := os.environ.get("KEEL_CODE_REVISION"):
        return revision
    try:
        found = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
            cwd=Path(__file__).parent,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return found.stdout.strip()


def digest_of(*parts: str) -> str:
    """Return the SHA-256 of texts in their order."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()


class _Hashing:
    """A file that keeps only the digest of its content."""

    closed = False

    def __init__(self, digest: Any) -> None:
        self._digest = digest

    def write(self, data: Any) -> int:
        self._digest.update(data)
        return len(data)

    def flush(self) -> None:
        """Do nothing: no data is buffered."""

    def close(self) -> None:
        self.closed = True

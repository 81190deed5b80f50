"""Read a CSV or Parquet file, local or at any URL that fsspec supports."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa

from keel.errors import ConfigError, suggestion, without_credentials
from keel.sources import PART_ROWS, Source

BLOCK = 4 * 2**20
"""Bytes of a CSV file that are parsed at once."""
LISTED = 10


@contextmanager
def open_file(url: str, *, delimiter: str = ",") -> Iterator[Source]:
    """Open a file: Parquet if it begins so, else CSV with a header, compressed or not.

    url: a path, or a URL that fsspec supports.

    Raises
    ------
    ConfigError
        The file is missing, or cannot be read, also while it is read. The message lists files nearby.

    """
    name = without_credentials(url)
    with ExitStack() as stack:
        with _readable(name, remote="://" in url):
            file = stack.enter_context(_opened(url, name))
            begin = file.read(4)
            file.seek(0)
            source = _parquet(file, name) if begin == b"PAR1" else _csv(file, name, delimiter)
        guarded = partial(_guarded, source.read, name, "://" in url)
        yield replace(source, read=guarded)


def _opened(url: str, name: str) -> Any:
    import fsspec  # type: ignore[import-untyped]
    from fsspec.core import url_to_fs  # type: ignore[import-untyped]

    system, path = url_to_fs(url)
    if system.isdir(path):
        raise ConfigError(f"{name}: is a folder: submit its files one by one")
    if not system.exists(path):
        raise ConfigError(f"{name}: there is no such file{_nearby(system, path)}")
    return fsspec.open(url, "rb", compression="infer")


def _nearby(system: Any, path: str) -> str:
    folder, _, file = path.rpartition("/")
    if not system.isdir(folder or "/"):
        return f", nor a folder {folder}"
    names = sorted(each.rstrip("/").rpartition("/")[2] for each in system.ls(folder or "/", detail=False))
    near = suggestion(file, names)
    listed = ", ".join(names[:LISTED]) + (", …" if len(names) > LISTED else "")
    return near or f"; in its folder: {listed or 'nothing'}"


def _parquet(file: Any, name: str) -> Source:
    from pyarrow.parquet import ParquetFile

    parquet = ParquetFile(file)

    def read(columns: Sequence[str]) -> Iterator[pa.Table]:
        for batch in parquet.iter_batches(batch_size=PART_ROWS, columns=list(columns), use_threads=False):
            yield pa.Table.from_batches([batch])

    return Source(name, tuple(parquet.schema_arrow.names), read)


def _csv(file: Any, name: str, delimiter: str) -> Source:
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    header = next(csv.reader(text, delimiter=delimiter), [])
    text.detach()
    if not header:
        raise ConfigError(f"{name}: is empty; a CSV file begins with a line that names its columns")

    def read(columns: Sequence[str]) -> Iterator[pa.Table]:
        from pyarrow import csv as arrow_csv

        file.seek(0)
        reader = arrow_csv.open_csv(
            pa.PythonFile(file, "r"),
            read_options=arrow_csv.ReadOptions(block_size=BLOCK, use_threads=False),
            parse_options=arrow_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            # As text, so that an error can name the row of an invalid number, which Arrow does not.
            convert_options=arrow_csv.ConvertOptions(
                include_columns=list(columns), column_types=dict.fromkeys(columns, pa.string())
            ),
        )
        for batch in reader:
            yield pa.Table.from_batches([batch])

    return Source(name, tuple(header), read, has_only_texts=True)


def _guarded(
    read: Callable[[Sequence[str]], Iterator[pa.Table]], name: str, remote: bool, columns: Sequence[str]
) -> Iterator[pa.Table]:
    """Yield the parts. Errors of the file system and the format become ConfigError."""
    parts = read(columns)
    while True:
        with _readable(name, remote=remote):
            part = next(parts, None)
        if part is None:
            return
        yield part


@contextmanager
def _readable(name: str, *, remote: bool) -> Iterator[None]:
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:  # fsspec's file systems raise errors of their own, whose text may hold a secret
        said = type(error).__name__ if remote else " ".join(str(getattr(error, "strerror", None) or error).split())
        raise ConfigError(f"{name}: cannot be read: {said}") from None

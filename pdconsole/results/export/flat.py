"""One table with a row a point: CSV and Parquet, with the same columns.

The columns are the fields of PointRow under their names, which carry their units. Flags are three
columns, their names, their evidence and the names of those that are bad. An interval is two
columns, `…_low` and `…_high`, there where any point has it.
"""

from __future__ import annotations

import csv
import io
import types
from collections.abc import Sequence
from typing import Any, get_args

import msgspec

from pdconsole import __version__
from pdconsole.results.point_row import LATENCIES, STATISTICS, PointRow

_DERIVED: tuple[tuple[str, type], ...] = (("directory", str), ("point", str))
_AFTER: tuple[tuple[str, type], ...] = (
    ("flags", str),
    ("flag_evidence", str),
    ("bad", str),
)
_NOT_FLAT = frozenset({"ci", "flags", "group", "bad"})


def csv_text(rows: Sequence[PointRow]) -> str:
    """A header and a line a point; what is not known is empty."""
    columns = _columns(rows)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([name for name, _ in columns])
    for row in rows:
        writer.writerow([_plain(_value(row, name)) for name, _ in columns])
    return text.getvalue()


def parquet_bytes(rows: Sequence[PointRow]) -> bytes:
    """What is not known is null."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    to_arrow: dict[type, pa.DataType] = {
        str: pa.string(),
        int: pa.int64(),
        float: pa.float64(),
        bool: pa.bool_(),
    }
    columns = _columns(rows)
    schema = pa.schema([(name, to_arrow[kind]) for name, kind in columns])
    arrays = {name: [_value(row, name) for row in rows] for name, _ in columns}
    table = pa.Table.from_pydict(arrays, schema=schema.with_metadata({"pdconsole": __version__}))
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _columns(rows: Sequence[PointRow]) -> list[tuple[str, type]]:
    fields = [
        (field.name, _type(field.type))
        for field in msgspec.structs.fields(PointRow)
        if field.name not in _NOT_FLAT
    ]
    known = {name for row in rows for name in row.ci}
    intervals = [
        (f"{latency}_{statistic}_ms_{bound}", float)
        for latency in LATENCIES
        for statistic in STATISTICS
        for bound in ("low", "high")
        if f"{latency}_{statistic}_ms" in known
    ]
    return [*_DERIVED, *fields, *_AFTER, *intervals]


def _type(annotation: Any) -> type:
    """`int` of `int | None`."""
    if isinstance(annotation, types.UnionType):
        (annotation,) = (each for each in get_args(annotation) if each is not type(None))
    found: type = annotation
    return found


def _value(row: PointRow, column: str) -> Any:
    if column == "flags":
        return "; ".join(row.flags)
    if column == "flag_evidence":
        return "; ".join(row.flags.values())
    if column == "bad":
        return "; ".join(row.bad)
    name, _, bound = column.rpartition("_")
    if bound in ("low", "high"):
        interval = row.ci.get(name)
        return None if interval is None else interval[bound == "high"]
    return getattr(row, column)


def _plain(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value

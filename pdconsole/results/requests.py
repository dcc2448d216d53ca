"""A point's requests as Parquet: one row a request, its inter-token gaps as a list of float32."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pdconsole.model.measurement import RequestRow
from pdconsole.results.errors import ResultError

if TYPE_CHECKING:
    import pyarrow as pa

# Stamps are no better than a microsecond. Written so, gaps recur and a dictionary holds them in
# half the room of their float32 noise.
_GAP_DIGITS_MS = 3
_TIME_DIGITS_S = 6


def requests_bytes(rows: Sequence[RequestRow], metadata: Mapping[str, str]) -> bytes:
    """The Parquet file of these rows, zstd; the metadata is in its schema."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pylist([_plain(row) for row in rows], schema=_schema(metadata))
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", compression_level=9)
    return buffer.getvalue()


def read_requests(path: Path) -> pa.Table:
    """The requests of a point. Raises ResultError when they cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_table(path)
    except (OSError, pa.ArrowException) as e:
        raise ResultError(f"cannot read the requests in {path}: {e}") from e


def _plain(row: RequestRow) -> dict[str, Any]:
    plain = {name: getattr(row, name) for name in RequestRow.__struct_fields__}
    for name, value in plain.items():
        if isinstance(value, float):
            plain[name] = round(value, _TIME_DIGITS_S)
    plain["gaps_ms"] = [round(gap, _GAP_DIGITS_MS) for gap in row.gaps_ms]
    return plain


def _schema(metadata: Mapping[str, str]) -> pa.Schema:
    import pyarrow as pa

    types: dict[str, pa.DataType] = {
        "index": pa.int32(),
        "phase": pa.string(),
        "in_window": pa.bool_(),
        "input_tokens": pa.int32(),
        "output_tokens": pa.int32(),
        "error": pa.string(),
        "request_id": pa.string(),
        "prefill": pa.string(),
        "decode": pa.string(),
        "gaps_ms": pa.list_(pa.float32()),
    }
    fields = [(name, types.get(name, pa.float64())) for name in RequestRow.__struct_fields__]
    return pa.schema(fields).with_metadata({**metadata})

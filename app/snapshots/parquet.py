"""Parquet files whose schema follows from the types of the columns, not from the values in the rows."""

from collections.abc import Iterator
from enum import StrEnum
from itertools import islice
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import orjson
import pyarrow
import pyarrow.parquet

from app.snapshots.shapes import Columns
from training.contract.records import Record

BATCH = 2000
_ARROW = {bool: pyarrow.bool_(), int: pyarrow.int64(), float: pyarrow.float64(), str: pyarrow.string()}


def schema(columns: Columns) -> pyarrow.Schema:
    """Return the columns' schema: records become structs, tuples lists, and dicts with arbitrary keys one JSON text."""
    return pyarrow.schema({name: _arrow(type) for name, type in columns.items()})


def write(path: Path, columns: Columns, rows: Iterator[dict]) -> None:
    """Write a Parquet file of these rows; without rows it still has its columns."""
    made = schema(columns)
    with pyarrow.parquet.ParquetWriter(path, made, compression="zstd") as writer:
        while batch := list(islice(rows, BATCH)):
            fitting = [{name: _fit(row[name], type) for name, type in columns.items()} for row in batch]
            writer.write_table(pyarrow.Table.from_pylist(fitting, schema=made))


def _kind(type: Any) -> tuple[Any, Any]:
    """Return (plain type, None), or tuple, dict or Record with the type inside; `X | None` counts as X."""
    origin, inside = get_origin(type), get_args(type)
    if origin in (Union, UnionType):
        (one,) = (member for member in inside if member is not NoneType)
        return _kind(one)
    if origin is Literal:
        return str, None
    if origin in (tuple, dict):
        return origin, inside[0]
    if issubclass(type, Record):
        return Record, type
    return (str, None) if issubclass(type, StrEnum) else (type, None)


def _arrow(type: Any) -> pyarrow.DataType:
    kind, inside = _kind(type)
    if kind is tuple:
        return pyarrow.list_(_arrow(inside))
    if kind is Record:
        return pyarrow.struct({name: _arrow(field.annotation) for name, field in inside.model_fields.items()})
    return _ARROW[str if kind is dict else kind]


def _fit(value: Any, type: Any) -> Any:
    kind, inside = _kind(type)
    if value is None:
        return None
    if kind is tuple:
        return [_fit(one, inside) for one in value]
    if kind is Record:
        return {name: _fit(value[name], field.annotation) for name, field in inside.model_fields.items()}
    return orjson.dumps(value).decode() if kind is dict and not isinstance(value, str) else value

"""What a Zarr group on disk claims, checked before memory is given to it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import zarr

from equilens.pipeline.errors import StoreError

# a chunk is decoded whole: 16 cutouts of 64 MiB are the largest that a survey may declare
LARGEST_CHUNK_BYTES = 2**30
LARGEST_JSON_BYTES = 2**28
# what zarr, its codecs and json raise on damaged bytes; they share no base of their own
_DAMAGE = (
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    RuntimeError,
    OSError,
    MemoryError,
    ArithmeticError,
    AssertionError,
)


@contextmanager
def damage_named(path: Path, remedy: str) -> Iterator[None]:
    """Turn whatever damaged bytes make a reader raise into a `StoreError` with its remedy."""
    try:
        yield
    except _DAMAGE as error:
        text = " ".join(str(error).split())[:200]
        raise StoreError(f"{path} is damaged ({type(error).__name__}: {text}): {remedy}") from error


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """The JSON object in a file of bounded size.

    Raises
    ------
    StoreError
        It is too large, or holds anything else.
    """
    with damage_named(path, remedy):
        size = path.stat().st_size
        if size > LARGEST_JSON_BYTES:
            raise ValueError(f"{size} bytes, at most {LARGEST_JSON_BYTES} are read")
        content = json.loads(path.read_bytes())
        if not isinstance(content, dict):
            raise ValueError(f"a JSON object is needed, got {type(content).__name__}")
        return content


def bounded_array(
    group: zarr.Group, name: str, shape: Sequence[int | None], remedy: str
) -> zarr.Array[Any]:
    """An array of a group, if it has the expected shape and chunks that fit into memory.

    Parameters
    ----------
    shape : None for an axis of any length
    """
    path = Path(str(group.store_path).removeprefix("file://")) / name
    with damage_named(path, remedy):
        array = group[name]
        if not isinstance(array, zarr.Array):
            raise ValueError("an array is needed, found a group")
        agrees = len(shape) == array.ndim and all(
            wanted is None or wanted == found
            for wanted, found in zip(shape, array.shape, strict=True)
        )
        if not agrees:
            raise ValueError(f"its shape is {array.shape}, the manifest says {tuple(shape)}")
        item = max(1, array.dtype.itemsize)
        if prod(array.chunks) * item > LARGEST_CHUNK_BYTES:
            raise ValueError(f"chunks of {array.chunks} take over {LARGEST_CHUNK_BYTES} bytes")
        return array

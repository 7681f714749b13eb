"""When a product counts as made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from equilens.pipeline.errors import StoreError
from equilens.pipeline.stores import read_manifest
from equilens.tasks.engine import luigi


class ManifestTarget(luigi.Target):
    """A store that is there once its manifest is: it is written last.

    Parameters
    ----------
    path : of the store
    kind : of store that its manifest must name
    expected : values that the manifest must hold, by dotted key such as ``config.seed``, where
        ``*`` stands for every key of a level; a store made from something else is another store,
        and its writer refuses to overwrite it
    """

    def __init__(
        self, path: Path | str, kind: str, expected: Mapping[str, Any] | None = None
    ) -> None:
        self.path = str(path)
        self.kind = kind
        self.expected = dict(expected or {})

    def exists(self) -> bool:
        """Whether the store is finished, and the one expected."""
        try:
            manifest = read_manifest(self.path, self.kind)
        except (StoreError, ValueError):
            return False
        return all(_values(manifest, key) == {value} for key, value in self.expected.items())


def _values(manifest: Mapping[str, Any], key: str) -> set[Any]:
    found: list[Any] = [manifest]
    for part in key.split("."):
        branches = [value for value in found if isinstance(value, Mapping)]
        if part == "*":
            found = [entry for value in branches for entry in value.values()]
        else:
            found = [value.get(part) for value in branches]
    return set(found)

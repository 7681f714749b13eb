import hashlib
import json
import os
import stat

import pytest

from equilens.pipeline.provenance import (
    fingerprint,
    provenance,
    sha256_file,
    write_atomic,
    write_json_atomic,
)


def test_sha256_of_a_file(tmp_path):
    file = tmp_path / "a"
    file.write_bytes(b"abc")
    assert sha256_file(file) == hashlib.sha256(b"abc").hexdigest()


def test_fingerprint_ignores_the_order_of_keys_only():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a": [1, 2]}) != fingerprint({"a": [2, 1]})


def test_write_is_all_or_nothing(tmp_path, monkeypatch):
    file = tmp_path / "deep/er/a.json"
    write_json_atomic(file, {"a": 1})

    def full(_):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_atomic(file, b"half")
    assert json.loads(file.read_text()) == {"a": 1}
    assert list(file.parent.iterdir()) == [file]


def test_products_are_readable_by_others(tmp_path):
    before = os.umask(0o022)
    try:
        write_atomic(tmp_path / "a", b"x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o644


def test_provenance_names_versions():
    facts = provenance()
    assert {"equilens", "numpy", "zarr"} <= facts["versions"].keys()
    assert facts["created_utc"].endswith("+00:00")

"""Files that change under our hands, disks that refuse, networks that drop, poisoned cutouts."""

from __future__ import annotations

import gzip
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow.parquet
from catalogue import SIDE, Night, fits_bytes, must, run, start
from setting import Row, Setting, expect_failure, rewritten, stopwatch, written

from equilens.pipeline.quarantine import read_quarantine
from equilens.pipeline.shards import shard_file
from equilens.pipeline.stores import MANIFEST

PAGE = 4096


def damage(file: Path, rng: np.random.Generator, how: str) -> None:
    """Flip a random bit of a file, or cut it at a random length."""
    data = bytearray(file.read_bytes())
    at = int(rng.integers(len(data)))
    if how == "flipped":
        data[at] ^= 1 << int(rng.integers(8))
    else:
        del data[at:]
    file.write_bytes(data)


def damaged_block(setting: Setting, how: str, *, finished: bool) -> Row:
    """A block of scores that changes on disk is noticed, and it alone is scored again."""
    state = "finished" if finished else "unfinished"
    night = setting.fresh(f"block-{how}-{state}", scores=True)
    if not finished:
        (night.scores / MANIFEST).unlink()
    index = int(setting.rng.choice(sorted(written(night))))
    others = {k: when for k, when in written(night).items() if k != index}
    damage(night.block(index), setting.rng, how)
    with stopwatch() as seconds:
        must(night.score)
        lost = seconds()
    identical = setting.is_identical(night)
    return Row(
        f"score block {how}, {state}",
        redone=1 + rewritten(night, others),
        allowed=1,
        seconds_lost=lost,
        identical=identical,
    )


def damaged_shard(setting: Setting, how: str) -> Row:
    """A shard of pixels that changes on disk is named, with its remedy, before it is scored."""
    night = setting.fresh(f"shard-{how}")
    shard = int(setting.rng.integers(-(-setting.n // 2048)))
    name = str(setting.rng.choice(["images", "mask"]))
    file = shard_file(night.store, name, shard)
    file = file if file.exists() else shard_file(night.store, "images", shard)
    damage(file, setting.rng, how)
    told = expect_failure(*run(night.score), (f"shards [{shard}]", "--replace"))
    with stopwatch() as seconds:
        must([*night.ingest, "--replace"])
        must(night.score)
        lost = seconds()
    row = Row(f"store shard {how}", seconds_lost=lost, note=told)
    row.identical = setting.is_identical(night)
    return row


def damaged_facts(setting: Setting) -> Row:
    """A lost file of per-object values would read as zeros; it is named instead."""
    night = setting.fresh("facts")
    name = str(setting.rng.choice(["noise_njy", "ids", "ra"]))
    next(file for file in (night.store / name / "c").rglob("*") if file.is_file()).unlink()
    code, told = run(night.score)
    if code == 0:
        code, told = run(night.export)
    told = expect_failure(code, told, (name, "--replace"))
    must([*night.ingest, "--replace"])
    must(night.score)
    return Row("lost per-object values", identical=setting.is_identical(night), note=told)


def full_disk(setting: Setting) -> Row:
    """Scores run into a full disk: one clear error, every block kept, and on with it later."""
    row = Row("disk full while scoring")
    with small_disk(setting.folder / "full", row, size="64m") as folder:
        if folder is None:
            return row
        night = Night(setting.undisturbed.inputs, folder, workers=1)
        setting.refill(night)
        short = int(setting.rng.integers(2, setting.undisturbed.n_blocks()))
        leave = _pages(setting.undisturbed.scores) - short
        ballast = folder / "ballast"
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, _free(folder) - leave * PAGE)
        row.note = expect_failure(*run(night.score), ("no space is left",))
        kept = written(night)
        ballast.unlink()
        with stopwatch() as seconds:
            must(night.score)
            row.seconds_lost = seconds()
        row.redone = rewritten(night, kept)
        row.identical = setting.is_identical(night)
    return row


def full_disk_in_ingest(setting: Setting) -> Row:
    """An ingest runs into a full disk, and works once there is room."""
    row = Row("disk full while ingesting")
    with small_disk(setting.folder / "full-ingest", row, size="4m") as folder:
        if folder is None:
            return row
        night = Night(setting.undisturbed.inputs, folder)
        row.note = expect_failure(*run(night.ingest), ("no space is left",))
        _mount("-o", "remount,size=256m", str(folder))
        must(night.ingest)
        row.identical = setting.same_store(night)
    return row


def limited_files(setting: Setting) -> Row:
    """A limit on the size of a file, as batch systems set it."""
    night = Night(setting.undisturbed.inputs, setting.folder / "limited")
    night.out.mkdir()
    limit = 2**20
    driver = start(
        night.ingest,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    told, _ = driver.communicate()
    row = Row("limit on file sizes", note=expect_failure(driver.returncode, told, ("ulimit -f",)))
    must(night.ingest)
    row.identical = setting.same_store(night)
    return row


def read_only(setting: Setting) -> Row:
    """A target that can not be written to."""
    row = Row("read-only target")
    with small_disk(setting.folder / "read-only", row, size="64m") as folder:
        if folder is None:
            return row
        night = Night(setting.undisturbed.inputs, folder, workers=1)
        setting.refill(night)
        _mount("-o", "remount,ro", str(folder))
        row.note = expect_failure(*run(night.score), ("read-only",))
        expect_failure(*run([*night.ingest, "--replace"]), ("read-only",))
        _mount("-o", "remount,rw", str(folder))
        must(night.score)
        row.identical = setting.is_identical(night)
    return row


@contextmanager
def small_disk(folder: Path, row: Row, size: str) -> Iterator[Path | None]:
    """A file system of its own in memory; None, and the reason in `row`, where none is allowed."""
    folder.mkdir()
    try:
        _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder))
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        row.note = f"skipped: no file system may be mounted here ({error})"
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True, capture_output=True)


def _pages(folder: Path) -> int:
    files = (file for file in folder.rglob("*") if file.is_file())
    return sum(-(-file.stat().st_size // PAGE) for file in files)


def _free(folder: Path) -> int:
    facts = os.statvfs(folder)
    return facts.f_bavail * facts.f_frsize


def poison(setting: Setting) -> Row:
    """Hostile and broken files among the good ones cost their rows, and change nothing else."""
    inputs = setting.folder / "poisoned"
    shutil.copytree(setting.undisturbed.inputs, inputs)
    expected = write_poison(inputs / "fits", setting.rng)
    night = Night(inputs, setting.folder / "poisoned-out")
    night.out.mkdir()
    for words in (night.ingest, night.score, night.export):
        must(words)
    rejected = {row.id for row in read_quarantine(night.store / "quarantine.csv")}
    found, clean = (
        pyarrow.parquet.read_table(n.out / "candidates.parquet").drop_columns(["data_fingerprint"])
        for n in (night, setting.undisturbed)
    )
    identical = found.to_pylist().__repr__() == clean.to_pylist().__repr__()
    return Row(
        "poisoned cutouts",
        times=len(expected),
        identical=identical and rejected == expected,
        note=f"{len(rejected)} rows of quarantine; all but the data's fingerprint compared",
    )


def write_poison(folder: Path, rng: np.random.Generator) -> set[str]:
    """Files that no pipeline should choke on; returns the IDs that have to be rejected."""
    good = fits_bytes(rng.normal(size=(2, SIDE, SIDE)), 80.0)
    nothing = np.full((2, SIDE, SIDE), np.nan)
    claim = b"NAXIS1  =        1000000000000".ljust(80)
    contents = {
        "poison-truncated": good[:5000],
        "poison-empty": b"",
        "poison-text": b"<html>404 Not Found</html>" * 100,
        "poison-claim": good.replace(good[3 * 80 : 4 * 80], claim, 1),
        "poison-nan": fits_bytes(nothing, 81.0),
        "poison-infinite": fits_bytes(nothing + np.inf, 82.0),
        "poison-flat": fits_bytes(np.zeros((2, SIDE, SIDE)), 83.0),
        "poison-noise": rng.bytes(20_000),
    }
    for name, data in contents.items():
        (folder / f"{name}.fits").write_bytes(data)
    with gzip.open(folder / "poison-bomb.fits.gz", "wb", compresslevel=9) as bomb:
        bomb.write(good[:2880])
        for _ in range(300):
            bomb.write(b"\0" * 2**20)
    (folder / "poison-link.fits").symlink_to("/etc/hostname")
    os.mkfifo(folder / "poison-pipe.fits")
    return {*contents, "poison-bomb", "poison-link", "poison-pipe"}

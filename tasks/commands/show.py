"""`equilens show ID STORE`: one object, as it is in a store."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from equilens.tasks.arguments import existing_path
from equilens.tasks.console import Outcome, plain

if TYPE_CHECKING:
    import numpy as np

    from equilens.pipeline.cutouts import CutoutBatch
    from equilens.pipeline.stores import CutoutStore

PREVIEW_COLUMNS = 56


def add(commands: argparse._SubParsersAction, common: argparse.ArgumentParser) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "show", parents=[common], help="one object: pixels, bands, flags, score, history"
    )
    parser.add_argument("id", metavar="ID")
    parser.add_argument("store", type=existing_path, metavar="STORE")
    parser.add_argument("--scores", type=existing_path, metavar="SCORES.zarr")
    parser.add_argument("--out", metavar="PNG", help="write the picture as well")
    parser.add_argument("--no-preview", action="store_true", help="no picture, even in a terminal")
    parser.set_defaults(run=run_show)


def run_show(args: argparse.Namespace) -> Outcome:
    """Show one object."""
    from rich.console import Group

    from equilens.pipeline.report.mosaics import store_picture
    from equilens.pipeline.stores import CutoutStore

    store = CutoutStore(args.store)
    row = store.find(args.id)
    batch = store.read(slice(row, row + 1))
    facts = _facts(store, batch, row)
    if args.scores:
        facts |= _score(args.scores, store, args.id)
    rgb, _ = store_picture(store, row)
    if args.out:
        _write_picture(rgb, args.out)
        facts["picture"] = args.out
    wanted = sys.stdout.isatty() and not (args.no_preview or args.json)
    shown: list[Any] = [_preview(rgb)] if wanted else []
    return Outcome(facts, Group(*shown, _band_table(facts["bands"]), _fact_table(facts)))


def _facts(store: CutoutStore, batch: CutoutBatch, row: int) -> dict[str, Any]:
    from equilens.pipeline.cutouts import describe_flags

    provenance = store.manifest["provenance"]
    return {
        "id": batch.ids[0],
        "survey": store.survey_name,
        "row": row,
        "ra": batch.ra[0],
        "dec": batch.dec[0],
        "pixel_scale_arcsec": batch.pixel_scale_arcsec[0],
        "shape": list(store.shape),
        "flags": describe_flags(int(batch.flags[0])),
        "bands": [_band_facts(batch, name, k) for k, name in enumerate(store.band_names)],
        "columns": {name: values[0] for name, values in batch.columns.items()},
        "noise_method": batch.noise_method[0],
        "source_file": batch.source_file[0],
        "source_checksum": batch.source_checksum[0],
        "store": str(store.path),
        "store_fingerprint": store.fingerprint,
        "stored_utc": provenance["created_utc"],
        "stored_by": provenance["command"],
    }


def _band_facts(batch: CutoutBatch, name: str, k: int) -> dict[str, Any]:
    import numpy as np

    mask = batch.mask[0, k]
    known = batch.images[0, k][~mask]
    return {
        "band": name,
        "present": bool(batch.band_present[0, k]),
        "noise_njy": batch.noise_njy[0, k],
        "psf_fwhm_arcsec": batch.psf_fwhm_arcsec[0, k],
        "median_njy": np.median(known) if known.size else np.nan,
        "max_njy": known.max() if known.size else np.nan,
        "sum_njy": known.sum(dtype=float) if known.size else np.nan,
        "n_masked": int(mask.sum()),
    }


def _score(path: Any, store: CutoutStore, object_id: str) -> dict[str, Any]:
    import numpy as np

    from equilens.pipeline.errors import StoreError
    from equilens.pipeline.scores import ScoreStore

    scores = ScoreStore(path)
    if scores.identity["cutouts"] != store.fingerprint:
        raise StoreError(f"{path} holds no scores of {store.path}: score this store")
    row = int(np.flatnonzero(scores.ids() == object_id)[0])
    values = scores.combined()
    rank = int((values > values[row]).sum()) + 1
    return {
        "score": values[row],
        "rank": rank if np.isfinite(values[row]) else None,
        "n_scored": int(np.isfinite(values).sum()),
        "network": scores.manifest["network"],
    }


def _write_picture(rgb: np.ndarray, path: str) -> None:
    import base64

    from equilens.pipeline.provenance import write_atomic
    from equilens.pipeline.report.mosaics import png_uri

    write_atomic(path, base64.b64decode(png_uri(rgb).partition(",")[2]))


def _preview(rgb: np.ndarray) -> Any:
    """The picture in half blocks: each character shows an upper and a lower pixel."""
    import numpy as np
    from rich.text import Text

    side = min(PREVIEW_COLUMNS, rgb.shape[1], rgb.shape[0]) // 2 * 2
    rows, columns = (np.linspace(0, n, side + 1).astype(int) for n in rgb.shape[:2])
    sums = np.add.reduceat(np.add.reduceat(rgb, rows[:-1], 0), columns[:-1], 1)
    area = np.outer(np.diff(rows), np.diff(columns))[..., None]
    pixels = np.clip(255 * sums / area, 0, 255).astype(int)
    text = Text()
    for upper, lower in zip(pixels[::2], pixels[1::2], strict=True):
        for above, below in zip(upper.tolist(), lower.tolist(), strict=True):
            text.append(
                "▀", style=f"rgb({','.join(map(str, above))}) on rgb({','.join(map(str, below))})"
            )
        text.append("\n")
    return text


def _rgb(colour: list[int]) -> str:
    return f"rgb({colour[0]},{colour[1]},{colour[2]})"


def _band_table(bands: list[dict[str, Any]]) -> Any:
    from rich.table import Table

    columns = ("band", "noise", "PSF", "median", "maximum", "sum", "masked")
    table = Table(*columns, box=None, pad_edge=False)
    for row in bands:
        if not row["present"]:
            table.add_row(f"[bold]{row['band']}", "missing")
            continue
        table.add_row(
            f"[bold]{row['band']}",
            f"{row['noise_njy']:.3g} nJy",
            f'{row["psf_fwhm_arcsec"]:.2f}"',
            *(f"{row[name]:.4g} nJy" for name in ("median_njy", "max_njy", "sum_njy")),
            f"{row['n_masked']} px",
        )
    return table


def _shown(facts: dict[str, Any]) -> dict[str, Any]:
    shown = {k: v for k, v in facts.items() if k not in ("bands", "columns", "network")}
    if "network" in facts:
        shown["network"] = f"{facts['network']['name']} ({facts['network']['sha256'][:12]})"
    # a column of the user's own may be called score as well
    columns = {f"user {k}" if k in shown else k: v for k, v in facts["columns"].items()}
    return shown | columns


def _fact_table(facts: dict[str, Any]) -> Any:
    from rich.markup import escape
    from rich.table import Table

    table = Table("", "", box=None, show_header=False, pad_edge=False)
    for name, value in _shown(facts).items():
        value = plain(value)
        text = (
            "unknown"
            if value is None
            else f"{value:.6g}"
            if isinstance(value, float)
            else str(value)
        )
        table.add_row(f"[dim]{escape(name.replace('_', ' '))}", escape(text or "none"))
    return table

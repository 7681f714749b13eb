"""Cutouts that cost nothing: a round blob in noise, and a ring around it for a "lens".

For tests and for timing the machinery. They teach a network nothing about the sky.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from equilens.models.inputs import InputSpec
from equilens.pipeline.cutouts import CutoutBatch, CutoutFlag
from equilens.pipeline.store_writer import CutoutWriter
from equilens.pipeline.stores import CutoutStore


def toy_cutouts(
    n: int,
    *,
    bands: int = 2,
    side: int = 33,
    seed: int = 0,
    ring_snr: float = 3.0,
    missing_share: float = 0.0,
) -> CutoutBatch:
    """N toy cutouts, every second one with a ring.

    Parameters
    ----------
    ring_snr : peak of the ring in noise sigmas a pixel
    missing_share : of objects that lack their last band
    """
    rng = np.random.default_rng(seed)
    labels = (np.arange(n) % 2 == 0).astype(np.int8)
    radius = rng.uniform(4, side / 3, n).astype(np.float32)
    noise = rng.uniform(8, 12, (n, bands)).astype(np.float32)
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    distance = np.hypot(y, x).astype(np.float32)
    blob = 20 * np.exp(-(distance**2) / 18)
    ring = ring_snr * np.exp(-((distance - radius[:, None, None]) ** 2) / 2)
    shape = blob + labels[:, None, None] * ring
    images = shape[:, None] + rng.standard_normal((n, bands, side, side), np.float32)
    images = (images * noise[:, :, None, None]).astype(np.float32)
    mask = np.zeros(images.shape, bool)
    mask[:, :, 0, :3] = True
    present = np.ones((n, bands), bool)
    present[rng.random(n) < missing_share, -1] = False
    mask[~present], noise[~present] = True, np.nan
    images[mask] = 0
    return CutoutBatch(
        ids=np.array([f"toy-{seed}-{k:05d}" for k in range(n)], object),
        images=images,
        mask=mask,
        ra=rng.uniform(0, 360, n),
        dec=rng.uniform(-60, 60, n),
        noise_njy=noise,
        noise_method=_text(n, "known"),
        psf_fwhm_arcsec=np.full((n, bands), 0.2, np.float32),
        pixel_scale_arcsec=np.full(n, 0.1, np.float32),
        band_present=present,
        flags=np.where(present.all(1), 0, int(CutoutFlag.MISSING_BAND)).astype(np.uint32),
        wcs_header=_text(n, ""),
        source_file=_text(n, ""),
        source_checksum=_text(n, ""),
        columns={
            "is_lens": labels,
            "einstein_radius_arcsec": np.where(labels, radius * 0.1, np.nan),
            "parent_id": np.arange(n) // 2,
        },
    )


def write_toy_store(
    path: Path | str,
    batch: CutoutBatch,
    *,
    survey: str = "toy",
    bands: tuple[str, ...] | None = None,
) -> CutoutStore:
    """A finished store of `batch`; bands are called a, b, c and so on by default."""
    names = bands or tuple("abcdefgh"[: batch.images.shape[1]])
    with CutoutWriter(path, survey=survey, bands=names, shape=batch.images.shape[2:]) as writer:
        writer.append(batch)
    return CutoutStore(path)


def write_mean_network(path: Path | str, spec: InputSpec) -> Path:
    """An ONNX network whose logit is the mean of all pixels: its scores are known beforehand.

    Needs the extra ``onnx``.
    """
    import onnx
    from onnx import TensorProto, helper

    shape = [None, spec.n_bands, *spec.shape]
    mean = helper.make_node("ReduceMean", ["images", "axes"], ["logits"], keepdims=0)
    graph = helper.make_graph(
        [mean],
        "mean",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [None])],
        [helper.make_tensor("axes", TensorProto.INT64, [3], [1, 2, 3])],
    )
    opset = helper.make_opsetid("", 18)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=9)
    helper.set_model_props(model, {"input_spec": json.dumps(spec.to_dict())})
    onnx.save(model, str(path))
    return Path(path)


def _text(n: int, value: str) -> np.ndarray:
    return np.full(n, value, object)

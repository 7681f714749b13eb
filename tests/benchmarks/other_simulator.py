"""Challenge-like images of another simulator, lenstronomy, with populations of its own.

    python other_simulator.py ground -n 1500 --seed 7 --out lenstronomy-ground
    equilens challenge run lenstronomy-ground --set ground \\
        --truth lenstronomy-ground/key.csv --out run

A network that is judged on the simulator it was trained on is judged kindly. lenstronomy renders
these; deflectors, sources and field galaxies are drawn below, more simply than in equilens and
without looking at its ranges. Non-lenses are ellipticals, discs with a bulge, and both with blue
satellites near the Einstein radius; lenses and non-lenses share deflectors and surroundings.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import dataclass
from pathlib import Path

import lenstronomy.Util.param_util as param_util
import numpy as np
from astropy.io import fits
from lenstronomy.Data.imaging_data import ImageData
from lenstronomy.Data.psf import PSF
from lenstronomy.ImSim.image_model import ImageModel
from lenstronomy.LensModel.lens_model import LensModel
from lenstronomy.LightModel.light_model import LightModel

SIDE = 101
ARCSEC = np.pi / 180 / 3600
Component = tuple[str, dict, float, str]  # profile, parameters, magnitude, population


@dataclass(frozen=True)
class Camera:
    """One set of the challenge: file names, pixels, and noise in the challenge's own unit.

    `colours` are magnitudes relative to the first band, of old and of young galaxies.
    """

    folder: tuple[str, ...]
    prefix: tuple[str, ...]
    pixel_arcsec: float
    fwhm_arcsec: tuple[float, ...]
    noise: tuple[float, ...]
    colours: dict[str, tuple[float, ...]]


CAMERAS = {
    "space": Camera(
        ("Public/Band1",), ("imageEUC_VIS",), 0.1, (0.18,), (7.9e-13,),
        {"old": (0.0,), "young": (0.0,)},
    ),
    "ground": Camera(
        tuple(f"Public/Band{k}" for k in (1, 2, 3, 4)),
        tuple(f"imageSDSS_{band}" for band in "RIGU"),
        0.2, (0.70, 0.75, 0.85, 1.0), (1.56e-12, 3.19e-12, 1.27e-12, 2.03e-12),
        {"old": (0.0, -0.4, 0.9, 2.4), "young": (0.0, -0.1, 0.2, 0.5)},
    ),
}  # fmt: skip


def deflector(rng: np.random.Generator) -> tuple[list[Component], float, dict[str, float]]:
    """Return light of a galaxy, its Einstein radius in arcsec, and its ellipticity."""
    q, angle = rng.uniform(0.6, 0.95), rng.uniform(0, np.pi)
    e1, e2 = param_util.phi_q2_ellipticity(angle, q)
    theta = float(np.clip(np.exp(rng.normal(np.log(1.2), 0.35)), 0.5, 2.5))
    mag = 20.3 - 2.0 * np.log10(theta / 1.2) + rng.normal(0, 0.7)
    radius = 0.8 * 10 ** (-0.15 * (mag - 20.3) + rng.normal(0, 0.12))
    shape = {"e1": e1, "e2": e2, "center_x": 0.0, "center_y": 0.0}
    bulge = {"R_sersic": radius, "n_sersic": rng.uniform(3, 5), **shape}
    light: list[Component] = [("SERSIC_ELLIPSE", bulge, mag, "old")]
    if rng.random() < 0.3:
        disc = {"R_sersic": 1.8 * radius, "n_sersic": 1.0, **shape}
        light.append(("SERSIC_ELLIPSE", disc, mag + rng.uniform(0.3, 1.5), "old"))
    return light, theta, {"e1": e1, "e2": e2}


def field(rng: np.random.Generator, theta: float, satellites: bool) -> list[Component]:
    """Return galaxies around, and satellites at about the Einstein radius."""
    places = [(*rng.uniform(-9, 9, 2), rng.uniform(21, 25)) for _ in range(rng.poisson(4))]
    if satellites:
        for _ in range(rng.integers(1, 4)):
            turn, r = rng.uniform(0, 2 * np.pi), theta * rng.uniform(0.7, 1.6)
            places.append((r * np.cos(turn), r * np.sin(turn), rng.uniform(22, 24.5)))
    return [
        (
            "SERSIC_ELLIPSE",
            {
                "R_sersic": rng.uniform(0.12, 0.4), "n_sersic": rng.uniform(0.8, 2),
                "e1": rng.uniform(-0.3, 0.3), "e2": rng.uniform(-0.3, 0.3),
                "center_x": x, "center_y": y,
            },
            mag,
            "young" if rng.random() < 0.7 else "old",
        )
        for x, y, mag in places
    ]  # fmt: skip


def source(rng: np.random.Generator, theta: float) -> list[Component]:
    """Return a galaxy behind, inside 0.5 Einstein radii."""
    r, turn = 0.5 * theta * np.sqrt(rng.random()), rng.uniform(0, 2 * np.pi)
    host = {
        "R_sersic": float(np.exp(rng.normal(np.log(0.2), 0.4))), "n_sersic": rng.uniform(0.8, 2),
        "e1": rng.uniform(-0.3, 0.3), "e2": rng.uniform(-0.3, 0.3),
        "center_x": r * np.cos(turn), "center_y": r * np.sin(turn),
    }  # fmt: skip
    return [("SERSIC_ELLIPSE", host, rng.uniform(22.0, 25.5), "young")]


def rendered(components: list[Component], offset: float) -> tuple[LightModel, list[dict]]:
    """Return lenstronomy's model with amplitudes that give the magnitudes, zero point 0."""
    filled = []
    for profile, parameters, mag, _ in components:
        unit = LightModel([profile]).total_flux([{"amp": 1.0, **parameters}])[0]
        filled.append({"amp": 10 ** (-0.4 * (mag + offset)) / unit, **parameters})
    return LightModel([profile for profile, *_ in components]), filled


def images(rng: np.random.Generator, camera: Camera, is_lens: bool) -> tuple[list, float]:
    """Return one noisy image a band, and the Einstein radius in arcsec."""
    light, theta, ellipticity = deflector(rng)
    light += field(rng, theta, satellites=rng.random() < 0.3)
    behind = source(rng, theta)
    shear = dict(zip(("gamma1", "gamma2"), rng.normal(0, 0.04, 2), strict=True))
    mass = [{"theta_E": theta, "center_x": 0.0, "center_y": 0.0, **ellipticity}, shear]
    start = -(SIDE // 2) * camera.pixel_arcsec
    grid = ImageData(
        np.zeros((SIDE, SIDE)), ra_at_xy_0=start, dec_at_xy_0=start,
        transform_pix2angle=np.eye(2) * camera.pixel_arcsec,
    )  # fmt: skip
    made = []
    for band, noise in enumerate(camera.noise):
        total = np.zeros((SIDE, SIDE))
        for components, lensed in ((light, False), (behind, True)):
            if lensed and not is_lens:
                continue
            for population, colours in camera.colours.items():
                chosen = [c for c in components if c[3] == population]
                if chosen:
                    total += observed(grid, camera, band, chosen, colours[band], mass, lensed)
        made.append(total + rng.normal(0, noise, total.shape))
    return made, theta


def observed(grid, camera: Camera, band: int, chosen, offset: float, mass, lensed: bool):
    """Return the image of components of one colour, convolved."""
    width, pixel = camera.fwhm_arcsec[band], camera.pixel_arcsec
    psf = PSF(psf_type="GAUSSIAN", fwhm=width, pixel_size=pixel, truncation=4)
    numerics = {"supersampling_factor": 2, "supersampling_convolution": False}
    model, filled = rendered(chosen, offset)
    if lensed:
        lens = LensModel(["SIE", "SHEAR"])
        scene = ImageModel(grid, psf, lens, model, kwargs_numerics=numerics)
        return scene.image(kwargs_lens=mass, kwargs_source=filled)
    scene = ImageModel(grid, psf, None, None, model, kwargs_numerics=numerics)
    return scene.image(kwargs_lens_light=filled)


def main() -> None:
    """Write images in the challenge's layout, and a key."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("set", choices=CAMERAS)
    parser.add_argument("-n", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    camera, rng, rows = CAMERAS[args.set], np.random.default_rng(args.seed), []
    for folder in camera.folder:
        (args.out / folder).mkdir(parents=True, exist_ok=True)
    for number in range(900_000, 900_000 + args.n):
        is_lens = bool(rng.random() < 0.5)
        made, theta = images(rng, camera, is_lens)
        for folder, prefix, image in zip(camera.folder, camera.prefix, made, strict=True):
            path = args.out / folder / f"{prefix}-{number}.fits"
            fits.writeto(path, image.astype(">f4"), overwrite=True)
        rows.append((number, int(is_lens), np.pi * (theta * ARCSEC) ** 2 if is_lens else 0.0))
    with (args.out / "key.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("ID", "is_lens", "Einstein_area"))
        writer.writerows(rows)


if __name__ == "__main__":
    main()

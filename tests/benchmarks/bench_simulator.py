"""Simulated lenses a CPU second, four bands of 101x101: ours against lenstronomy.

Both make lenses only: an elliptical mass with shear, a Sérsic lens and a Sérsic source, convolved
with a PSF, with background noise. Ours has a power-law mass, clumpy and double sources, neighbours,
companions, extra components of the light, photon noise, masks, defects and missing bands, and
samples the light finer than the pixel where it is steep; lenstronomy is given no more than is
named, its cheaper isothermal mass, and two samplings.
"""

from __future__ import annotations

import time

from comparison import arguments, take_turns

SURVEY = "bologna-ground"


def lenstronomy_images(survey, n, supersampling):
    """(n, band, y, x) lenses by lenstronomy, models built once a band as its users would."""
    import numpy as np
    from lenstronomy.Data.pixel_grid import PixelGrid
    from lenstronomy.Data.psf import PSF
    from lenstronomy.ImSim.image_model import ImageModel
    from lenstronomy.LensModel.lens_model import LensModel
    from lenstronomy.LightModel.light_model import LightModel

    side, scale = survey.shape[0], survey.pixel_scale_arcsec
    corner = -scale * (side // 2)
    grid = PixelGrid(side, side, np.eye(2) * scale, corner, corner)
    lens, light = LensModel(["SIE", "SHEAR"]), LightModel(["SERSIC_ELLIPSE"])
    numerics = {"supersampling_factor": supersampling, "supersampling_convolution": False}
    models = []
    for band in survey.bands:
        psf = PSF("GAUSSIAN", fwhm=band.psf_fwhm_arcsec, pixel_size=scale, truncation=5)
        kernel = PSF("PIXEL", kernel_point_source=psf.kernel_point_source)
        models.append(ImageModel(grid, kernel, lens, light, light, kwargs_numerics=numerics))
    rng = np.random.default_rng(0)
    images = np.empty((n, len(models), side, side), np.float32)
    for k in range(n):
        scene = draw_scene(rng)
        for b, (model, band) in enumerate(zip(models, survey.bands, strict=True)):
            noise = rng.normal(0, band.noise_njy, (side, side))
            images[k, b] = model.image(*scene) + noise
    return images


def draw_scene(rng):
    """Lens mass, source light and lens light in lenstronomy's words."""
    e1, e2 = rng.normal(0, 0.1, 2)
    sie = {"theta_E": rng.uniform(0.8, 2), "e1": e1, "e2": e2, "center_x": 0.0, "center_y": 0.0}
    g1, g2 = rng.normal(0, 0.03, 2)
    shear = {"gamma1": g1, "gamma2": g2, "ra_0": 0.0, "dec_0": 0.0}
    x, y = rng.uniform(-0.4, 0.4, 2)
    source = {"amp": 100.0, "R_sersic": 0.3, "n_sersic": 1.0, "e1": 0.1, "e2": 0.0}
    lens = {"amp": 300.0, "R_sersic": 1.0, "n_sersic": 4.0, "e1": e1, "e2": e2}
    return (
        [sie, shear],
        [{**source, "center_x": x, "center_y": y}],
        [{**lens, "center_x": 0.0, "center_y": 0.0}],
    )


def main() -> None:
    options = arguments(__doc__, n=128, turns=3)
    import torch

    from equilens.pipeline.simulation.simulate import simulate_batch
    from equilens.pipeline.surveys.registry import get_survey

    torch.set_num_threads(options.threads)
    survey = get_survey(SURVEY)
    # lenstronomy is slow: a fraction of the objects gives its rate as well
    few, fewer = max(options.n // 4, 2), max(options.n // 32, 1)
    contenders = {
        "lenstronomy": lambda: lenstronomy_images(survey, few, 1),
        "lenstronomy, supersampling 3": lambda: lenstronomy_images(survey, fewer, 3),
        "equilens": lambda: simulate_batch(survey, options.n, seed=1, lens_fraction=1.0),
        "equilens, half of them lenses": lambda: simulate_batch(survey, options.n, seed=1),
    }
    counts = dict(zip(contenders, (few, fewer, options.n, options.n), strict=True))
    found = take_turns(
        contenders, counts, options.turns, baseline="lenstronomy", clock=time.process_time
    )
    found.show(f"Simulated cutouts a CPU second, {SURVEY} (4x101x101)", "cutouts/CPU s")


if __name__ == "__main__":
    main()

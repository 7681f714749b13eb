"""Whole images against lenstronomy: deflector light, lensed source, PSF."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from lenstronomy.Data.imaging_data import ImageData
from lenstronomy.Data.psf import PSF
from lenstronomy.ImSim.image_model import ImageModel
from lenstronomy.LensModel.lens_model import LensModel as OracleLens
from lenstronomy.LightModel.light_model import LightModel
from lenstronomy.Util.param_util import phi_q2_ellipticity

from equilens.pipeline.simulation.arcs import ClumpySource, render_arcs
from equilens.pipeline.simulation.lensing import LensModel
from equilens.pipeline.simulation.light import sersic_b
from equilens.pipeline.simulation.psf import convolve, psf_kernel, transfer_function
from equilens.pipeline.simulation.rendering import Grid

# lenstronomy calls numpy's FFT in a deprecated way
pytestmark = pytest.mark.filterwarnings("ignore:`axes` should not be:DeprecationWarning")
SIZE, SCALE = 61, 0.1
CASES = list(itertools.product((0.6, 1.2), (0.5, 0.85), ((0.02, 0.03), (0.25, -0.1))))


def _lens(radius, q, shear):
    values = (radius, q, 0.8, 0.01, -0.02, *shear)
    return LensModel(*(torch.tensor([v]) for v in values))


def _source(x, y, radius=0.15, index=1.0, clumps=False):
    values = [torch.tensor([v]) for v in (x, y, radius, index, 0.7, 2.0)]
    centres = torch.tensor([[x + 0.1, x - 0.05]]), torch.tensor([[y, y + 0.12]])
    sigma, weight = torch.tensor([[0.03, 0.05]]), torch.tensor([[0.4, 0.6]])
    return ClumpySource(*values, *centres, sigma, weight if clumps else 0 * weight)


def _kernel():
    values = (torch.tensor([v]) for v in (1.9, 0.03, -0.02))
    return psf_kernel(*values, 21)[0]


def _ours(lens, source):
    images = render_arcs(lens, source, Grid(SIZE, SIZE // 2, SCALE))
    return convolve(images[0], transfer_function(_kernel(), 96), 96)[:, :SIZE, :SIZE].numpy()


def _oracle(lens, light, keywords, samples=9):
    e1, e2 = phi_q2_ellipticity(0.8, float(lens.axis_ratio))
    deflector = [
        {
            "theta_E": float(lens.einstein_radius),
            "e1": e1,
            "e2": e2,
            "center_x": 0.01,
            "center_y": -0.02,
        },
        {
            "gamma1": float(lens.shear1),
            "gamma2": float(lens.shear2),
            "ra_0": 0.01,
            "dec_0": -0.02,
        },
    ]
    half = SCALE * (SIZE // 2)
    data = ImageData(
        image_data=np.zeros((SIZE, SIZE)),
        background_rms=1.0,
        exposure_time=1.0,
        ra_at_xy_0=-half,
        dec_at_xy_0=-half,
        transform_pix2angle=np.eye(2) * SCALE,
    )
    model = ImageModel(
        data,
        PSF(psf_type="PIXEL", kernel_point_source=_kernel().double().numpy()),
        lens_model_class=OracleLens(["SIE", "SHEAR"]),
        source_model_class=LightModel(light),
        kwargs_numerics={"supersampling_factor": samples, "supersampling_convolution": False},
    )
    image = model.image(kwargs_lens=deflector, kwargs_source=keywords)
    return image / sum(LightModel(light).total_flux(keywords))


def _host_keywords(source):
    e1, e2 = phi_q2_ellipticity(2.0, 0.7)
    n = float(source.index)
    radius = float(source.radius) * ((1.9992 * n - 0.3271) / float(sersic_b(source.index))) ** n
    host = {"amp": 1.0, "R_sersic": radius, "n_sersic": n, "e1": e1, "e2": e2}
    return [host | {"center_x": float(source.x), "center_y": float(source.y)}]


@pytest.mark.parametrize(("radius", "q", "position"), CASES)
def test_lensed_hosts_agree_with_lenstronomy_within_a_percent_of_the_peak(radius, q, position):
    lens, source = _lens(radius, q, (0.03, -0.04)), _source(*position)
    ours = _ours(lens, source)[0]
    theirs = _oracle(lens, ["SERSIC_ELLIPSE"], _host_keywords(source))
    assert np.abs(ours - theirs).max() < 0.01 * theirs.max()
    assert ours.sum() == pytest.approx(theirs.sum(), rel=5e-3)


def test_lensed_clumps_agree_with_lenstronomy():
    lens, source = _lens(0.9, 0.7, (0.03, -0.04)), _source(0.1, 0.05, clumps=True)
    keywords = [
        {
            "amp": float(source.clump_weight[0, c]),
            "sigma": float(source.clump_sigma[0, c]),
            "center_x": float(source.clump_x[0, c]),
            "center_y": float(source.clump_y[0, c]),
        }
        for c in range(2)
    ]
    theirs = _oracle(lens, ["GAUSSIAN", "GAUSSIAN"], keywords)
    assert np.abs(_ours(lens, source)[1] - theirs).max() < 0.02 * theirs.max()


def test_wrong_shear_sign_fails_the_image_oracle():
    lens, source = _lens(1.2, 0.7, (0.05, -0.04)), _source(0.1, 0.05)
    theirs = _oracle(lens, ["SERSIC_ELLIPSE"], _host_keywords(source))
    wrong = dataclasses.replace(lens, shear1=-lens.shear1, shear2=-lens.shear2)
    assert np.abs(_ours(wrong, source)[0] - theirs).max() > 0.2 * theirs.max()


def test_smooth_sources_leave_the_clump_layer_dark():
    assert not _ours(_lens(1.0, 0.8, (0.0, 0.0)), _source(0.1, 0.0))[1].any()

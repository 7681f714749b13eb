"""The Bologna lens finding challenge 2.0, by its documented layout: untried on real files.

Per the challenge's page, VIS has pixels of 0.1 and J, Y and H of 0.3 arcsec; those who took part
read images of 200x200 and 66x66 pixels, ``Public/EUC_<band>/imageEUC_<band>-<ID>.fits``.
"""

from __future__ import annotations

from equilens.pipeline.surveys.builtin import shipped
from equilens.pipeline.surveys.survey import Survey
from equilens.pipeline.surveys.two_grids import TwoGridSurvey

# 66 coarse pixels cover 198 of the 200 fine ones; the largest odd field inside them
FIELD_PX = 197


def bologna2_vis() -> Survey:
    """VIS alone, at its own pixels."""
    return shipped("bologna2-vis")


def bologna2_nir() -> Survey:
    """J, Y and H alone, at their own pixels."""
    return shipped("bologna2-nir")


def bologna2() -> Survey:
    """All four bands on the pixels of VIS."""
    vis, nir = bologna2_vis(), bologna2_nir()
    return TwoGridSurvey(
        name="bologna2",
        version=vis.version,
        title="Bologna lens finding challenge 2.0, VIS, J, Y, H (untried on real files)",
        bands=vis.bands + nir.bands,
        pixel_scale_arcsec=vis.pixel_scale_arcsec,
        shape=(FIELD_PX, FIELD_PX),
        layout=vis.layout,
        zeropoint_source=vis.zeropoint_source,
        wcs_rule=vis.wcs_rule,
        mask_rule=vis.mask_rule,
        footprint=vis.footprint,
        fine=vis,
        coarse=nir,
    )

"""Candidates against the lenscat table within 2": ours against astropy's match_to_catalog_sky.

A hundredth of the candidates lie within an arcsecond of a known lens. Both must find the same.
"""

from __future__ import annotations

from comparison import arguments, take_turns

RADIUS_ARCSEC = 2.0


def main() -> None:
    options = arguments(__doc__, n=100_000)
    import numpy as np
    from astropy import units as u
    from astropy.coordinates import SkyCoord, match_coordinates_sky

    from equilens.catalogs.lenscat import load_lenscat, match_lenscat

    lenscat = load_lenscat()
    known_ra, known_dec = lenscat["ra"].to_numpy(), lenscat["dec"].to_numpy()
    rng = np.random.default_rng(0)
    ra = rng.uniform(0, 360, options.n)
    dec = np.degrees(np.arcsin(rng.uniform(-1, 1, options.n)))
    near = rng.integers(0, len(known_ra), options.n // 100)
    offset = rng.uniform(-1, 1, (2, near.size)) / 3600
    dec[: near.size] = np.clip(known_dec[near] + offset[0] / 2, -90, 90)
    ra[: near.size] = known_ra[near] + offset[1] / 2 / np.cos(np.radians(dec[: near.size]))

    def ours():
        radii = [RADIUS_ARCSEC] * 3
        return match_lenscat(ra, dec, *radii)["lenscat_separation_arcsec"].to_numpy()

    def ours_from_disk():
        load_lenscat.cache_clear()
        return ours()

    def by_astropy():
        candidates = SkyCoord(ra * u.deg, dec * u.deg)
        # a fresh coordinate: astropy would keep its tree from one turn to the next
        lenses = SkyCoord(known_ra * u.deg, known_dec * u.deg)
        _, separation, _ = match_coordinates_sky(candidates, lenses)
        return np.where(separation.arcsec <= RADIUS_ARCSEC, separation.arcsec, np.nan)

    # astropy's own rounding at arcseconds is 1e-9"
    assert np.allclose(ours(), by_astropy(), atol=1e-6, equal_nan=True), "matches must agree"
    contenders = {
        "astropy": by_astropy,
        "equilens": ours,
        "equilens, table read from disk": ours_from_disk,
    }
    found = take_turns(contenders, options.n, options.turns, baseline="astropy")
    title = f'{options.n:,} candidates against {len(known_ra):,} rows of lenscat within 2"'
    slowest = max(found.seconds["equilens, table read from disk"])
    found.show(
        title, "candidates/s", f"0.3 s in all; the slowest turn from disk took {slowest:.3f} s"
    )


if __name__ == "__main__":
    main()

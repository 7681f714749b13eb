"""Simulated full skies: matter shells, haloes, shear as a survey measures it, and the truth.

Start reading at `simulate`. What a sky has: lognormal matter in shells, correlated with their
neighbours (`spectra`), Poisson haloes that follow it (`haloes`), the multi-plane convergence of
both in the Born approximation, and galaxies (`observation`) under a footprint (`survey_masks`).

What is approximated:

- Power. Painted haloes replace part of the smooth power (`halo_power`). Over ten skies at nside
  512 the convergence's power, over the pixel window's square, is 0.96, 0.97, 0.99, 1.00 and 1.03
  of that of CAMB's halofit between ℓ = 12, 48, 121, 305, 485 and 770 (±0.006 to ±0.001), and 1.09
  from there to 2 nside: the power of unresolved haloes, white from pixel to pixel, is not damped
  by the window. Gaussian skies have it to 0.1 % from ℓ = 121.
- In the pixel of its centre a halo has four fifths of its shear; farther out it is right to 3 %.
- Haloes are round, neither hollowed by exclusion nor pulled toward each other below 8 Mpc, and end
  at redshift 1: heavier ones beyond it are in the smooth matter.
- Reduced shear is that of the pixel's mean shear and convergence.
- Sources neither cluster nor align, and have sharp redshift bins that nobody measured wrongly.
"""

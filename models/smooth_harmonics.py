"""Circular harmonics on a few pixels, as pure as the pixels allow, that pass low frequencies alone.

A kernel f answers a plane wave of frequency ω and direction φ with Σ_x f(x) exp(−i ω·x). It turns
with the wave where, at every |ω|, that is one harmonic exp(imφ) of the direction. No kernel on a
grid does; here are those that come closest for maps as smooth as a Gaussian of one pixel, while
amplifying least what such maps do not contain (a nonlinearity's overtones, which the grid aliases).
In the spirit of Farid & Simoncelli 2004 (doi:10.1109/TIP.2004.823819), who optimise derivative
filters; here it is an eigenvalue problem for each m.

Sampled Gaussian rings times exp(imφ), on 5×5 pixels, leak 0.2 to 6 % of their answers' amplitude to
other harmonics; these leak 0.03 to 0.3 %, and on 7×7 pixels 0.01 to 0.14 %.
"""

from __future__ import annotations

import numpy as np

from equilens.models.errors import KernelError

SMOOTHNESS_PX = 1.0
"""Width of the Gaussian that the maps are as smooth as."""
OVERTONES = 1e-5
"""Power of what is not smooth, white, over that of the maps; low values weigh purity, high ones
smoothness."""
LARGEST_IMPURITY = 0.005
"""Of the amplitude of an answer, what may lie in other harmonics and overtones."""
SMALLEST_SIZE = 5
N_RADII, N_DIRECTIONS = 48, 32


def smooth_harmonics(size: int) -> tuple[tuple[int, np.ndarray], ...]:
    """Return (m, samples) of all harmonics pure enough, by m, then by purity.

    ``samples`` has shape (1, size²) for m = 0, else (2, size²) for the cosine and the sine part,
    pixels by rows; smooth maps get answers of unit power.

    Raises
    ------
    KernelError
        Where the size is 3: no harmonic of nine pixels but m = 0 is pure enough.
    """
    if size == 1:
        return ((0, np.ones((1, 1))),)
    if size < SMALLEST_SIZE:
        raise KernelError(
            f"smooth harmonics need a kernel of {SMALLEST_SIZE}×{SMALLEST_SIZE} pixels or more, "
            f"got size {size}; use that, or basis='harmonics'"
        )
    found = []
    for frequency in range(size):
        impurities, functions = purest_harmonics(size, frequency)
        pure = functions[impurities <= LARGEST_IMPURITY]
        if len(pure) == 0:
            break
        for function in pure:
            parts = [function.real] if frequency == 0 else [function.real, function.imag]
            found.append((frequency, np.stack(parts)))
    return tuple(found)


def purest_harmonics(size: int, frequency: int) -> tuple[np.ndarray, np.ndarray]:
    """Return impurities (n,), rising, and their functions (n, size²), complex.

    The impurity is the square root of λ in L c = λ (L + R) c, where R is the power of the answer in
    the harmonic m, and L that in all others plus overtones, as quadratic forms in the coefficients
    c of ``orbit_waves``.
    """
    waves = orbit_waves(size, frequency)
    power = harmonic_powers(waves, size)
    right = power[frequency % N_DIRECTIONS]
    wrong = power.sum(axis=0) - right + OVERTONES * np.eye(len(waves))
    # with L + R = T Tᵀ the problem is an ordinary one
    inverse = np.linalg.inv(np.linalg.cholesky(wrong + right))
    values, vectors = np.linalg.eigh(inverse @ wrong @ inverse.T)
    coefficients = vectors.T @ inverse
    # an eigenvector's sign is any machine's choice; checkpoints need one
    largest = np.abs(coefficients).argmax(axis=1)
    coefficients *= np.sign(coefficients[range(len(values)), largest])[:, None]
    return np.sqrt(values.clip(min=0.0)), coefficients @ waves


def orbit_waves(size: int, frequency: int) -> np.ndarray:
    """Return exp(ikφ) on one orbit of pixels each, orthonormal, shape (n, size²).

    Quarter turns and reflections permute an orbit; k ≡ m modulo 4, so that all of them turn as
    exp(imφ) does under a quarter turn. Eight pixels hold two such waves, four hold one.
    """
    x, y = _coordinates(size)
    far, near = np.maximum(abs(x), abs(y)), np.minimum(abs(x), abs(y))
    waves = []
    for a in range((size - 1) // 2 + 1):
        for b in range(a + 1):
            inside = (far == a) & (near == b)
            other = frequency - 4 if frequency else 4
            both: tuple[int, ...] = (frequency, other) if 0 < b < a else (frequency,)
            if a == 0 and frequency % 4:
                both = ()
            for k in both:
                waves.append(inside * np.exp(1j * k * np.arctan2(y, x)) / np.sqrt(inside.sum()))
    return np.array(waves)


def harmonic_powers(waves: np.ndarray, size: int) -> np.ndarray:
    """Return the power of answers by harmonic, quadratic forms (directions, n, n).

    Averaged over plane waves with the spectrum of smooth maps, exp(−(ω s)²) ω dω, ω < π.
    """
    radii = (np.arange(N_RADII) + 0.5) * np.pi / N_RADII
    weights = radii * np.exp(-((SMOOTHNESS_PX * radii) ** 2))
    phi = 2 * np.pi * np.arange(N_DIRECTIONS) / N_DIRECTIONS
    x, y = _coordinates(size)
    along = np.cos(phi)[:, None] * x + np.sin(phi)[:, None] * y
    answers = np.exp(-1j * radii[:, None, None] * along) @ waves.T
    harmonics = np.fft.fft(answers, axis=1) / N_DIRECTIONS
    return np.einsum("r,rka,rkb->kab", weights / weights.sum(), harmonics.conj(), harmonics).real


def _coordinates(size: int) -> np.ndarray:
    axis = np.arange(size) - (size - 1) / 2
    y, x = np.meshgrid(axis, axis, indexing="ij")
    return np.stack([x.ravel(), y.ravel()])

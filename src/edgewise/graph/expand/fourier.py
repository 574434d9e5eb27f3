"""Discrete Fourier transforms as products with constant matrices.

A transform is linear in the real and imaginary parts, so it is one matrix, whose rows are the
transforms of unit vectors. They are computed in float64 by numpy.fft.

1. DFT: the axis goes last, next to the parts; (..., N * parts) times (N * parts, K * parts).
2. STFT: frame f is the window times the signal from `f * step` on. With the signal cut into blocks
   of `step` samples, a frame is a few blocks in a row, so that the transforms of all frames are a
   convolution over blocks, whose weights are the matrix of window and transform.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from edgewise.graph.expand.expansion import Array, CannotExpand, Expansion

#: elements of the largest matrix: 64 MiB in float32
_MOST_ELEMENTS = 16 * 2**20


def expand_dft(e: Expansion) -> Sequence[ir.Value | None]:
    """Case 1. The axis is an attribute before opset 20."""
    inverse, onesided = (bool(e.attribute(name, 0)) for name in ("inverse", "onesided"))
    rank, parts = e.rank(), e.size(-1)
    if e.has(2):
        axis = int(e.known(2, "axis").reshape(()))
    else:
        axis = int(e.attribute("axis", -2 if e.opset >= 20 else 1))
    axis %= rank
    size = e.size(axis)
    if e.has(1):
        length = int(e.known(1, "length").reshape(()))
    else:
        length = 2 * (size - 1) if inverse and onesided else size
    used = min(size, length // 2 + 1 if inverse and onesided else length)

    def transform(signal: Array) -> Array:
        if inverse:
            return np.fft.irfft(signal, length) if onesided else np.fft.ifft(signal, length)
        spectrum = np.fft.fft(signal, length)
        return spectrum[..., : length // 2 + 1] if onesided else spectrum

    matrix = _matrix(transform, used, parts, real=inverse and onesided)
    parts_out = 1 if inverse and onesided else 2
    others = [k for k in range(rank - 1) if k != axis]
    x = e.input(0)
    if used < size:
        x = e.op("Slice", x, e.ints([0]), e.ints([used]), e.ints([axis]))
    moved = e.transpose(x, [*others, axis, rank - 1])
    dims = [e.size(k) for k in others]
    rows = e.reshape(moved, [*dims, used * parts])
    product = e.op("MatMul", rows, e.array(matrix, e.dtype()))
    spread = e.reshape(product, [*dims, matrix.shape[1] // parts_out, parts_out])
    back = [others.index(k) if k != axis else rank - 2 for k in range(rank - 1)]
    return [e.transpose(spread, [*back, rank - 1])]


def expand_stft(e: Expansion) -> Sequence[ir.Value | None]:
    """Case 2."""
    batch, samples, parts = e.shape()
    step = int(e.known(1, "step").reshape(()))
    window = e.known(2, "window").astype(np.float64) if e.has(2) else None
    if e.has(3):
        length = int(e.known(3, "frame length").reshape(()))
    else:
        length = samples if window is None else window.size
    onesided = bool(e.attribute("onesided", 1))
    frames = (samples - length) // step + 1
    if frames < 1 or step < 1 or (window is not None and window.size != length):
        raise CannotExpand("its window does not fit the signal", "Check window, step and signal.")
    window = np.ones(length) if window is None else window

    def transform(signal: Array) -> Array:
        spectrum = np.fft.fft(signal * window)
        return spectrum[..., : length // 2 + 1] if onesided else spectrum

    blocks = -(-length // step)  # of a frame
    matrix = _matrix(transform, length, parts)
    matrix = np.pad(matrix, ((0, (blocks * step - length) * parts), (0, 0)))
    weights = matrix.T.reshape(-1, blocks, step * parts).transpose(0, 2, 1)
    total = frames - 1 + blocks
    signal = _resized(e, samples, total * step)
    images = e.transpose(e.reshape(signal, [batch, total, step * parts]), [0, 2, 1])
    spectra = e.op("Conv", images, e.array(weights, e.dtype()))
    bins = matrix.shape[1] // 2
    return [e.reshape(e.transpose(spectra, [0, 2, 1]), [batch, frames, bins, 2])]


def _resized(e: Expansion, samples: int, wanted: int) -> ir.Value:
    """The signal cut, or filled up with zeros."""
    signal = e.input(0)
    if wanted < samples:
        signal = e.op("Slice", signal, e.ints([0]), e.ints([wanted]), e.ints([1]))
    elif wanted > samples:
        signal = e.op("Pad", signal, e.ints([0, 0, 0, 0, wanted - samples, 0]))
    return signal


def _matrix(
    transform: Callable[[Array], Array], size: int, parts: int, *, real: bool = False
) -> Array:
    """(size * parts, bins * 2), or (size * parts, bins) of a transform that gives real numbers.

    Raises CannotExpand when it would be too large.
    """
    bins = transform(np.zeros((1, size))).shape[-1]
    if size * parts * bins * 2 > _MOST_ELEMENTS:
        raise CannotExpand(
            f"a transform of length {size} is too large for a product with a constant matrix",
            "Compute it outside the model, or use shorter frames.",
        )
    units: Array = np.eye(size) if parts == 1 else np.kron(np.eye(size), [[1], [1j]])
    found = transform(units)
    if real:
        return found
    return np.stack([found.real, found.imag], axis=-1).reshape(size * parts, -1)

"""Where the windows of a pool lie.

With `extent = (kernel - 1) * dilation + 1` an axis has, by the ONNX operator specification,
    floor((size + begin + end - extent) / stride) + 1
windows, or with `ceil_mode` the next whole number, without a last window that would begin in the
padding behind the input. For Core ML `ceil_mode` becomes more padding at the end.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edgewise.graph import resolve_pads
from edgewise.targets.apple.call import Call

Taps = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class WindowAxis:
    """Windows along one spatial axis; `begin` and `end` are the padding that the node declares."""

    size: int
    kernel: int
    stride: int
    dilation: int
    begin: int
    end: int
    ceil_mode: bool

    @property
    def is_dilated(self) -> bool:
        return self.kernel > 1 and self.dilation > 1

    @property
    def is_trivial(self) -> bool:
        return self.kernel == 1 and self.stride == 1 and not self.begin and not self.end

    @property
    def extent(self) -> int:
        """Elements from the first to the last one that a window reads."""
        return (self.kernel - 1) * self.dilation + 1

    @property
    def windows(self) -> int:
        room = self.size + self.begin + self.end - self.extent
        if not self.ceil_mode:
            return max(room // self.stride + 1, 0)
        windows = -(-room // self.stride) + 1
        in_padding = (windows - 1) * self.stride >= self.size + self.begin
        return windows - 1 if in_padding else windows

    @property
    def full_end(self) -> int:
        """The padding at the end with which rounding down gives all windows."""
        reach = (self.windows - 1) * self.stride + self.extent
        return max(self.end, reach - self.size - self.begin)

    def taps(self) -> Taps:
        """Positions of the elements of each window (windows, kernel); those in the padding lie
        outside 0..size-1."""
        starts = np.arange(self.windows, dtype=np.int64) * self.stride - self.begin
        taps: Taps = starts[:, None] + np.arange(self.kernel) * self.dilation
        return taps

    def counted(self, *, with_padding: bool) -> Taps:
        """Elements of each window inside the input, or also inside the declared padding."""
        taps = self.taps()
        low, high = (-self.begin, self.size + self.end) if with_padding else (0, self.size)
        counted: Taps = ((taps >= low) & (taps < high)).sum(axis=1)
        return counted


def window_axes(call: Call) -> list[WindowAxis]:
    """The windows of a pool node along its spatial axes. Raises UnsupportedOperator where runtimes
    count them differently or a window reads no element."""
    kernel, spatial = call.attribute("kernel_shape"), call.shape(0)[2:]
    rank = len(kernel)
    strides = call.attribute("strides") or [1] * rank
    dilations = call.attribute("dilations") or [1] * rank
    same = call.attribute("auto_pad", "NOTSET").startswith("SAME")
    if same and any(k > 1 and d > 1 for k, d in zip(kernel, dilations, strict=True)):
        call.refuse(
            "auto_pad SAME with dilations has another shape in each runtime",
            "Export the model with explicit padding.",
        )
    begin, end = resolve_pads(call.node, spatial, kernel, strides, dilations)
    if min([*begin, *end]) < 0:
        call.refuse("its padding is negative", "Slice the input instead.")
    ceil_mode = bool(call.attribute("ceil_mode", 0))
    axes = [
        _whole(
            WindowAxis(spatial[a], kernel[a], strides[a], dilations[a], begin[a], end[a], ceil_mode)
        )
        for a in range(rank)
    ]
    for axis in axes:
        if axis.windows < 1:
            call.refuse(
                "its window is larger than its input with the padding",
                "Use a smaller window or more padding.",
            )
        if not axis.counted(with_padding=False).all():
            call.refuse("a window lies in the padding only", "Use less padding.")
    return axes


def _whole(axis: WindowAxis) -> WindowAxis:
    """A window over all of an axis and beyond, as some networks pool globally, becomes one over all
    of it: what lies beyond never counts."""
    beyond = axis.windows == 1 and axis.kernel > axis.size and not axis.is_dilated
    if not beyond or axis.begin or axis.end:
        return axis
    return replace(axis, kernel=axis.size, stride=1)

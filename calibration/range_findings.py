"""What the statistics tell of ranges that integers resolve badly.

One scale serves a whole tensor, so that values far below its range get few of its integers:
1. outliers: the range is many times wider than nearly all values need, because of few values, or of
   few channels;
2. spread: the typical channel is many times narrower than the range;
3. dead channels: a channel that never changed over the calibration data. It costs time and has no
   effect, or the data are no fair sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import numpy.typing as npt

from edgewise.calibration.ranges import Range, percentile
from edgewise.calibration.tensor_statistics import TensorStatistics
from edgewise.findings import Finding

#: percent of the values that are called nearly all
_NEARLY_ALL = 99.9
#: a range this many times wider than needed costs three of eight bits
_WIDE = 8.0
#: a typical channel this many times narrower than the range has four of eight bits
_SPREAD = 16.0
#: channels that are few, as a share of all
_FEW = 0.02
_NAMED = 3


def stretch(statistics: TensorStatistics, real: Range) -> float:
    """How many times wider a range is than nearly all values need; 1 where these are all zero."""
    most = percentile(statistics, _NEARLY_ALL)
    needed = max(most.high - most.low, 0.0)
    return (real.high - real.low) / needed if needed else 1.0


def channel_reach(statistics: TensorStatistics) -> npt.NDArray[np.float32] | None:
    """The largest magnitude of each channel, float32 (channels,); None without channels."""
    low, high = statistics.channel_minimum, statistics.channel_maximum
    return None if low is None or high is None else np.maximum(np.abs(low), np.abs(high))


def channel_spread(statistics: TensorStatistics) -> float:
    """The reach of the widest channel over that of the typical one (the median of those that are
    not zero throughout); 1 without channels."""
    reach = channel_reach(statistics)
    alive = None if reach is None else reach[reach > 0.0]
    if alive is None or not alive.size:
        return 1.0
    return float(alive.max() / np.median(alive))


def wide_channels(statistics: TensorStatistics) -> npt.NDArray[np.intp]:
    """The channels that reach further than half of the tensor's range, where these are few."""
    reach = channel_reach(statistics)
    if reach is None or reach.size < 2:
        return np.zeros(0, np.intp)
    wide = np.flatnonzero(reach > reach.max() / 2.0)
    return wide if wide.size <= max(1, int(_FEW * reach.size)) else np.zeros(0, np.intp)


def dead_channels(statistics: TensorStatistics) -> npt.NDArray[np.intp]:
    """The channels that held one value throughout; none where the whole tensor did, or where a
    channel was seen less than twice."""
    low, high = statistics.channel_minimum, statistics.channel_maximum
    if low is None or high is None or statistics.count < 2 * low.size:
        return np.zeros(0, np.intp)
    dead = np.flatnonzero(low == high)
    return dead if dead.size < low.size else np.zeros(0, np.intp)


def range_findings(
    tensors: Mapping[str, TensorStatistics], ranges: Mapping[str, Range]
) -> tuple[Finding, ...]:
    """At most one finding of each kind, with the worst tensors first.

    Args:
        tensors: statistics by name.
        ranges: what was chosen for those that are quantized.
    """
    seen = {name: tensors[name] for name in ranges if name in tensors}
    found = (
        _finding(
            "range-outlier",
            {name: stretch(own, ranges[name]) for name, own in seen.items()},
            _WIDE,
            lambda name, ratio: f"'{name}' ({ratio:.0f} times{_of_channels(seen[name])})",
            "quantized over a range that few values need",
            "Try `[calibration] method` percentile or entropy, and see `edgewise diagnose`.",
        ),
        _finding(
            "channel-spread",
            {name: channel_spread(own) for name, own in seen.items()},
            _SPREAD,
            lambda name, ratio: f"'{name}' ({ratio:.0f} times)",
            "with a channel much wider than the typical one",
            "Cross-layer equalization or SmoothQuant can bring channels closer together.",
        ),
        _finding(
            "dead-channels",
            {name: float(dead_channels(own).size) for name, own in seen.items()},
            1.0,
            lambda name, count: f"'{name}' ({count:.0f} of {_channels(seen[name])})",
            "with channels that never change over the calibration data",
            "More varied data wakes them up, or they can be pruned.",
        ),
    )
    return tuple(finding for finding in found if finding is not None)


def _finding(
    rule: str,
    measures: Mapping[str, float],
    least: float,
    shown: Callable[[str, float], str],
    what: str,
    remedy: str,
) -> Finding | None:
    worst = sorted((-value, name) for name, value in measures.items() if value >= least)
    if not worst:
        return None
    named = ", ".join(shown(name, -value) for value, name in worst[:_NAMED])
    more = ", ..." if len(worst) > _NAMED else ""
    tensors = "1 tensor" if len(worst) == 1 else f"{len(worst)} tensors"
    return Finding(f"calibration/{rule}", "info", f"{tensors} {what}: {named}{more}", "", remedy)


def _of_channels(statistics: TensorStatistics) -> str:
    wide = wide_channels(statistics)
    return f", by {_channel_list(wide)}" if wide.size else ""


def _channel_list(channels: Iterable[np.intp]) -> str:
    numbers = [str(channel) for channel in channels]
    more = ", ..." if len(numbers) > _NAMED else ""
    plural = "s" if len(numbers) > 1 else ""
    return f"channel{plural} {', '.join(numbers[:_NAMED])}{more}"


def _channels(statistics: TensorStatistics) -> int:
    return 0 if statistics.channel_minimum is None else statistics.channel_minimum.size

"""Instructions of one inference: warm-up runs, then runs between marks, less what marks cost.

A region holds what the runner's Python does around the runtime, and the call that ends it. As many
regions of nothing are counted as well, and the fewest of them are taken off, so that what remains
is the runtime's. Single runs may have some tenths of a percent more, where a page is touched for
the first time; the fewest of three are within some thousandths of a percent of those of another
process.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgewise.errors import DeviceError
from edgewise.targets.validation.devices.counter.device import CountingDevice, Region
from edgewise.targets.validation.devices.link import RemoteModel

#: marked inferences, at least
LEAST_RUNS = 3
_WARMUP = 2
#: share of an inference that other threads may run meanwhile, such as the runner's own
_ELSEWHERE = 0.05


def count_runs(model: RemoteModel, runs: int = LEAST_RUNS) -> list[Region]:
    """The regions of so many inferences of the sample that `model.load` brought.

    Raises DeviceError where the runner fails, the counter lacks some, or a part of every inference
    ran on other threads, which are not counted.
    """
    device = model.link.device
    assert isinstance(device, CountingDevice)
    device.regions()  # of earlier runs
    model.count(_WARMUP, runs)
    regions = device.regions()[-2 * runs :]
    if len(regions) < 2 * runs:
        raise DeviceError(
            f"{len(regions)} of {2 * runs} regions were counted",
            where=device.address,
            remedy="Run `edgewise emulator install --counter` again.",
        )
    empty = fewest(regions[:runs])
    counted = [region.without(empty) for region in regions[runs:]]
    spread = min(counted, key=lambda region: region.elsewhere)
    if spread.elsewhere > _ELSEWHERE * spread.total:
        raise DeviceError(
            f"{spread.elsewhere} instructions of an inference ran on other threads",
            where=device.address,
            why=f"those of one thread are counted, {spread.total} here",
        )
    return counted


def fewest(regions: Sequence[Region]) -> Region:
    """The region with the fewest instructions."""
    return min(regions, key=lambda region: region.total)

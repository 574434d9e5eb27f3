"""Random samples of a network as a data source for calibration."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from edgewise.data.source import Sample
from edgewise.findings import Finding
from zoo.table import Network


@dataclass
class Samples:
    """`count` samples of a network, the same ones at each walk."""

    network: Network
    count: int
    seed: int
    description: str = "random samples"
    labelled: bool = False
    class_names: tuple[str, ...] = ()
    findings: list[Finding] = field(default_factory=list)

    @property
    def fingerprint(self) -> str:
        return f"{self.count} from {self.seed}"

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Sample]:
        for index in range(self.count):
            yield Sample(self.network.feeds(np.random.default_rng((self.seed, index))))

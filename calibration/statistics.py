"""What calibration keeps of a model's activations: one `TensorStatistics` for each tensor.

Statistics of two shards add up to the statistics of the whole, exactly and in any order, so that
calibration can stream, shard and resume (see `tensor_statistics`, `histogram`). The form they have
on disk is described in `statistics_file`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir

from edgewise.calibration import statistics_file
from edgewise.calibration.histogram import BINS, SAMPLE_STRIDE, SAMPLED_ABOVE, Histogram
from edgewise.calibration.tensor_statistics import TensorStatistics
from edgewise.errors import ModelError

__all__ = [
    "BINS",
    "SAMPLED_ABOVE",
    "SAMPLE_STRIDE",
    "Histogram",
    "Statistics",
    "TensorStatistics",
    "model_hash",
]


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """Statistics of a model's float activations over calibration data.

    `data_hashes` holds one entry per shard, sorted, so that the order of addition leaves no trace.
    """

    tensors: Mapping[str, TensorStatistics]
    samples: int
    model_hash: str
    data_hashes: tuple[str, ...]

    @property
    def data_hash(self) -> str:
        """One hash for all data that was seen."""
        if len(self.data_hashes) == 1:
            return self.data_hashes[0]
        return hashlib.sha256("\n".join(self.data_hashes).encode()).hexdigest()

    def __add__(self, other: Statistics) -> Statistics:
        """The statistics of both shards together.

        Raises:
            ModelError: the shards observed different models or different tensors.
        """
        if self.model_hash != other.model_hash or self.tensors.keys() != other.tensors.keys():
            raise ModelError(
                "statistics of different models cannot be added",
                remedy="Collect every shard with the same model and the same tensors.",
            )
        return Statistics(
            {name: mine + other.tensors[name] for name, mine in self.tensors.items()},
            self.samples + other.samples,
            self.model_hash,
            tuple(sorted(self.data_hashes + other.data_hashes)),
        )

    def check_model(self, model: ir.Model) -> None:
        """Raises ModelError unless these statistics were collected with `model`."""
        if self.model_hash != model_hash(model):
            raise ModelError(
                "the statistics belong to another model",
                remedy="Calibrate again with this model.",
            )

    def save(self, path: str | Path) -> None:
        """Write the file that `statistics_file` describes, in one move."""
        header = statistics_file.Header(self.samples, self.model_hash, self.data_hashes)
        statistics_file.save(path, header, self.tensors)

    @classmethod
    def load(cls, path: str | Path) -> Statistics:
        """Read what `save` wrote.

        Raises:
            UsageError: the path does not exist.
            DataError: the file is damaged, is not a statistics file, or is of another version.
        """
        header, tensors = statistics_file.load(path)
        return cls(tensors, header.samples, header.model_hash, header.data_hashes)


def model_hash(model: ir.Model) -> str:
    """SHA-256 over what the model computes: nodes, attributes, weights, inputs and outputs.

    Inferred shapes, doc strings and producer fields do not count.
    """
    return proto_hash(ir.to_proto(model))


def proto_hash(proto: onnx.ModelProto) -> str:
    """`model_hash` of a serialized form, which loses what does not count."""
    for part in ("doc_string", "producer_name", "producer_version", "metadata_props"):
        proto.ClearField(part)
    for part in ("doc_string", "value_info", "metadata_props"):
        proto.graph.ClearField(part)
    for node in proto.graph.node:
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
    return hashlib.sha256(proto.SerializeToString(deterministic=True)).hexdigest()

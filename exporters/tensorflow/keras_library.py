"""Keras 3 and Keras 2, as far as the two differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from edgewise.exporters.opened import Array


@dataclass(frozen=True, slots=True)
class Library:
    """The module, `keras` or `tf_keras`."""

    module: Any
    version: int

    @property
    def backend(self) -> str:
        return str(self.module.backend.backend()) if self.version > 2 else "tensorflow"

    @property
    def tree(self) -> Any:
        """`flatten` and `pack_sequence_as`."""
        if self.version > 2:
            return self.module.tree
        import tensorflow

        return tensorflow.nest

    def array(self, tensor: Any) -> Array:
        """On the CPU, whatever the backend."""
        if self.version > 2:
            return np.asarray(self.module.ops.convert_to_numpy(tensor))
        return np.asarray(tensor)

    def is_tensor(self, leaf: Any) -> bool:
        if self.version > 2:
            return bool(self.module.ops.is_tensor(leaf))
        import tensorflow

        return bool(tensorflow.is_tensor(leaf))

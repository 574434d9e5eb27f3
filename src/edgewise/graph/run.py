"""Running a model in ONNX Runtime: the reference that everything is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgewise.errors import ModelError
from edgewise.graph.io import to_bytes

Optimize = Literal["none", "all"]
#: ONNX Runtime 1.32 gives int8 nodes that it inserts itself, such as those around the Reshape that
#: it makes of MatMul and Add, a uint8 zero point, and then refuses them (its pull request 28144)
_PROPAGATION = "QDQPropagationTransformer"
_REFUSES_ITS_OWN = "does not match y_zero_point type"


class OrtSession:
    """A CPU session. `optimize="none"` computes QDQ graphs literally, in float between Q and DQ.

    On x86 without VNNI the fused integer kernels saturate in 16 bits, so references use "none".
    `switched_off` names the optimizers without which alone ONNX Runtime loads the model.
    """

    def __init__(
        self, model: ir.Model | str | Path | bytes, *, threads: int = 1, optimize: Optimize = "none"
    ) -> None:
        data = to_bytes(model) if isinstance(model, ir.Model) else model
        self.switched_off: tuple[str, ...] = ()
        try:
            try:
                self._session = _open(data, threads, optimize)
            except Exception as error:
                if optimize == "none" or _REFUSES_ITS_OWN not in str(error):
                    raise
                self._session = _open(data, threads, optimize, without=[_PROPAGATION])
                self.switched_off = (_PROPAGATION,)
        except Exception as error:  # onnxruntime has a dozen exception types without a common base
            raise ModelError(
                "ONNX Runtime cannot load the model", why=_first_line(error)
            ) from error
        self.input_names = [i.name for i in self._session.get_inputs()]
        self.output_names = [o.name for o in self._session.get_outputs()]

    def run(
        self, feeds: Mapping[str, npt.NDArray[Any]], outputs: list[str] | None = None
    ) -> dict[str, npt.NDArray[Any]]:
        """Run once; `outputs` selects and orders the results (all by default)."""
        names = self.output_names if outputs is None else outputs
        try:
            results = self._session.run(names, dict(feeds))
        except Exception as error:  # see above
            raise ModelError("ONNX Runtime cannot run the model", why=_first_line(error)) from error
        return dict(zip(names, (np.asarray(r) for r in results), strict=True))


def _open(
    data: str | Path | bytes, threads: int, optimize: Optimize, without: Sequence[str] = ()
) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    options.graph_optimization_level = (
        ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        if optimize == "none"
        else ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    )
    return ort.InferenceSession(
        str(data) if isinstance(data, Path) else data,
        options,
        providers=["CPUExecutionProvider"],
        disabled_optimizers=list(without),
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__

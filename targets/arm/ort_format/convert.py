"""An ONNX model to an ORT file for ARM64, and the operators and types that a build needs for it.

Optimized as `onnxruntime.tools.convert_onnx_models_to_ort` does with `--target_platform arm` and
`--optimization_style Fixed`, which is the one for the CPU:
1. `session.qdqisint8allowed`: signed integers are fused as on ARM64, not as on this machine;
2. without the transformer to blocked layouts (NCHWc), which would fit this machine's vectors;
3. everything else is done here once, so that a build without optimizers runs the same kernels.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import onnxruntime as ort

from edgewise.errors import ModelError
from edgewise.targets.arm.ort_format.canonical import canonical
from edgewise.targets.arm.ort_format.verify import verify_ort

_DISABLED = ["NchwcTransformer"]
_ENTRIES = {"session.qdqisint8allowed": "1", "session.save_model_format": "ORT"}


@dataclass(frozen=True, slots=True)
class OrtFile:
    """The file, and the text that `--include_ops_by_config` of ONNX Runtime's build takes."""

    content: bytes
    required_operators: str


def convert(model: bytes, name: str) -> OrtFile:
    """The ORT file of an ONNX model; the same model gives the same bytes.

    `name` is the file that the list of operators says that it is for. Raises ModelError where
    ONNX Runtime refuses the model, and InternalError where it changed its weights.
    """
    with tempfile.TemporaryDirectory(prefix="edgewise-arm-") as folder:
        path = Path(folder) / name
        _optimize(model, path)
        content = canonical(path.read_bytes())
        verify_ort(content, model)
        path.write_bytes(content)
        config = Path(folder) / "operators.config"
        with _quiet():
            from onnxruntime.tools.ort_format_model import create_config_from_models

            create_config_from_models([path], config, True)
        text = config.read_text(encoding="utf-8").replace(str(path), name)
    return OrtFile(content, text)


def _optimize(model: bytes, path: Path) -> None:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.optimized_model_filepath = str(path)
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    for key, value in _ENTRIES.items():
        options.add_session_config_entry(key, value)
    providers = ["CPUExecutionProvider"]
    try:
        ort.InferenceSession(model, options, providers=providers, disabled_optimizers=_DISABLED)
    except Exception as error:  # onnxruntime's exception types have no common base
        raise ModelError(
            "ONNX Runtime cannot write the model in its own format",
            why=(str(error).strip().splitlines() or [""])[0],
            remedy="Leave out ort_format.",
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence that package, which gives the root logger a handler when it is imported, and leaves
    files to be closed by chance."""
    root = logging.getLogger()
    silent = logging.NullHandler()
    disabled = root.manager.disable
    root.addHandler(silent)  # without a handler, basicConfig would install one for good
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            yield
    finally:
        logging.disable(disabled)
        root.removeHandler(silent)

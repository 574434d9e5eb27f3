"""The shape of an input from the module alone, where that is certain.

A module with one input that a Linear layer reads first takes rows of that layer's features. That
is certain only when the layer is handed the very input, and when running proves it: nothing else
is inferred, since convolutions take pictures of any size and embeddings any number of indices.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgewise.exporters.pytorch.forward import Parameters
from edgewise.exporters.pytorch.running import Module, evaluation_mode, import_torch
from edgewise.exporters.quiet import quiet


def inferred_shapes(module: Module, parameters: Parameters) -> dict[str, tuple[int, ...]]:
    """The shape of the only input; nothing where it is not certain."""
    torch = import_torch()
    if parameters.sole is None or isinstance(module, torch.jit.ScriptModule):
        return {}
    layers = [child for child in module.modules() if isinstance(child, torch.nn.Linear)]
    sizes = dict.fromkeys(layer.in_features for layer in layers)
    for size in sizes:
        if _is_read_first(module, size):
            return {parameters.sole: (1, size)}
    return {}


def _is_read_first(module: Module, size: int) -> bool:
    """Whether a row of that size runs, and reaches a Linear layer untouched."""
    torch = import_torch()
    weight = next((p for p in module.parameters() if p.is_floating_point()), None)
    row = torch.from_numpy(np.zeros((1, size), np.float32)).to(getattr(weight, "dtype", None))
    first: list[bool] = []

    def hook(child: Any, arguments: tuple[Any, ...]) -> None:
        if not first and not any(child.children()):
            first.append(
                isinstance(child, torch.nn.Linear) and len(arguments) == 1 and arguments[0] is row
            )

    handles = [child.register_forward_pre_hook(hook) for child in module.modules()]
    try:
        with evaluation_mode(module), quiet(), torch.no_grad():
            module(row)
    except Exception:  # user code may raise anything: then it is no row that it takes
        return False
    finally:
        for handle in handles:
            handle.remove()
    return bool(first) and first[0]

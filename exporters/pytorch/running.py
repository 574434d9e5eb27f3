"""The optional library itself, and what is done with its objects everywhere in this package."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from edgewise.exporters.extras import import_extra
from edgewise.exporters.opened import Array
from edgewise.exporters.quiet import quiet

if TYPE_CHECKING:
    import torch

    Module: TypeAlias = torch.nn.Module
    Tensor: TypeAlias = torch.Tensor
else:
    Module = Tensor = object


def import_torch() -> Any:
    """Raises UsageError where it is not installed."""
    return import_extra("torch", needed_for="PyTorch models")


def tensors_of(arrays: Mapping[str, Array]) -> dict[str, Tensor]:
    """Copies, since a model may write into what it is given."""
    torch = import_torch()
    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}


def arrays_of(results: Any) -> list[Array]:
    """The tensors of whatever forward gave, in the order in which torch flattens it."""
    torch = import_torch()
    leaves = torch.utils._pytree.tree_leaves(results)
    return [leaf.cpu().numpy() for leaf in leaves if isinstance(leaf, torch.Tensor)]


@contextmanager
def evaluation_mode(module: Module) -> Iterator[None]:
    """Switches the module and its children to evaluation, and each back to what it was."""
    modes = [(child, child.training) for child in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for child, training in modes:
            child.training = training


def call(module: Module, arrays: Mapping[str, Array], *, by_name: bool) -> Any:
    """What forward gives in evaluation mode, without gradients and without a word."""
    torch = import_torch()
    tensors = tensors_of(arrays)
    with evaluation_mode(module), quiet(), torch.no_grad():
        return module(**tensors) if by_name else module(*tensors.values())

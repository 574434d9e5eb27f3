"""PyTorch models: modules, exported programs, TorchScript, and weights with their factory."""

from edgewise.exporters.pytorch.module import Module, open_module, open_program

__all__ = ["Module", "open_module", "open_program"]

"""PyTorch models: modules, exported programs, TorchScript, and weights with their factory."""

from edgewise.exporters.pytorch.files import open_file
from edgewise.exporters.pytorch.module import open_module
from edgewise.exporters.pytorch.program import open_program
from edgewise.exporters.pytorch.running import Module

__all__ = ["Module", "open_file", "open_module", "open_program"]

"""The digits sample as a PyTorch module, with the weights that come with Edgewise.

`digits.onnx` has each BatchNormalization inside its convolution; here it is one again, which only
adds the bias. Data are those of the sample: `calibration.npz` and `evaluation.npz`.
"""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import torch
from torch import nn

from edgewise.graph import load
from edgewise.sample_models.digits.model import IMAGE_SHAPE, DigitsNet


def model() -> DigitsNet:
    """Logits (1, 10) of a picture (1, 1, 32, 32) with values from 0 to 1."""
    stored = load(str(files("edgewise.sample_models.digits") / "digits.onnx")).graph.initializers
    arrays = {
        name: np.array(value.const_value.numpy())
        for name, value in stored.items()
        if value.const_value is not None
    }
    net = DigitsNet().eval()
    modules = dict(net.named_modules())
    with torch.no_grad():
        for name, module in modules.items():
            if isinstance(module, nn.Conv2d):
                module.weight.copy_(torch.from_numpy(arrays[f"{name}.weight"]))
                stem, _, index = name.rpartition(".")
                norm = modules[f"{stem}.{int(index) + 1}"]
                assert isinstance(norm, nn.BatchNorm2d) and norm.running_var is not None
                norm.bias.copy_(torch.from_numpy(arrays[f"{name}.weight_bias"]))
                norm.running_var.fill_(1 - norm.eps)
            elif isinstance(module, nn.Linear):
                module.weight.copy_(torch.from_numpy(arrays[f"{name}.weight"]))
                module.bias.copy_(torch.from_numpy(arrays[f"{name}.bias"]))
    return net


model.input_shapes = {"image": (1, *IMAGE_SHAPE)}  # type: ignore[attr-defined]

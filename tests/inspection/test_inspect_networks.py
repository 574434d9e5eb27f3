"""Well-known networks against the figures that their authors publish.

The networks of the tests have 10 classes; the classifier of 1000 is added by hand. Normalization is
folded into convolutions here, which the publications count as parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir
import pytest
from zoo.hub import hub_model

from edgewise.inspection.onnx_network import network_of
from edgewise.inspection.summary import summarize


@dataclass(frozen=True)
class Published:
    """At 224 x 224 with 1000 classes; `features` are the inputs of the classifier."""

    macs: float
    parameters: float
    features: int
    tolerance: float = 0.02


PUBLISHED = {
    # arXiv 1704.04861, table 8: 569 million Mult-Adds, 4.2 million parameters
    "mobilenet_v1": Published(569e6, 4.2e6, 1024),
    # arXiv 1801.04381, table 4: 300M Mult-Adds, 3.4M parameters
    "mobilenet_v2": Published(300e6, 3.4e6, 1280, tolerance=0.03),
    # arXiv 1512.03385 and the torchvision model card (strides in the 3 x 3): 4.09 G, 25.6 M
    "resnet_50": Published(4.09e9, 25.6e6, 2048),
    # the model card of EfficientNet-Lite0: 407M MAdds, 4.7M parameters; it counts normalization
    # and additions as well
    "efficientnet_lite0": Published(407e6, 4.7e6, 0, tolerance=0.06),
}
_CLASSES, _OURS = 1000, 10


def of_published_size(model: ir.Model) -> ir.Model:
    """The same network for 224 x 224 pixels: the tests have it smaller."""
    (image,) = model.graph.inputs
    image.shape = ir.Shape([1, 3, 224, 224])
    for node in model.graph:
        for value in node.outputs:
            value.shape = None
    return model


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_figures(name: str) -> None:
    published = PUBLISHED[name]
    model = hub_model(name)
    found = summarize(network_of(of_published_size(model.clone()), {}))
    more = _CLASSES - _OURS
    macs = found.macs.total + published.features * more
    parameters = found.parameters.count + (
        (published.features + 1) * more if published.features else 0
    )
    assert macs == pytest.approx(published.macs, rel=published.tolerance)
    assert parameters == pytest.approx(published.parameters, rel=published.tolerance)
    assert not found.macs.uncounted
    assert found.memory.peak_bytes is not None

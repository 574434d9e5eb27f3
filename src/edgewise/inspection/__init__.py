"""What a model is made of: operators, parameters, products, memory, precisions, and its targets.

Every format is read into one description, a `Network`, and every figure is made from that:

    file -> Network -> summary -> ModelFacts
            (onnx_network, tflite_network, core_ml_network)
"""

from edgewise.inspection.facts import FORMAT, LayerFacts, ModelFacts
from edgewise.inspection.reading import Reading, inspect, read

__all__ = ["FORMAT", "LayerFacts", "ModelFacts", "Reading", "inspect", "read"]

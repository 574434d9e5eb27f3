"""Quantization-aware training: a network with the scheme of a target, trained in torch, and the QDQ
model with exactly its scales (needs the extra `torch`).

>>> network = edgewise.qat.prepare(module, images, target="android")  # doctest: +SKIP
>>> ...  # train it as any torch module                               # doctest: +SKIP
>>> edgewise.qat.export(network, "trained.onnx")                      # doctest: +SKIP
"""

from edgewise.qat.preparing import export, prepare

__all__ = ["export", "prepare"]

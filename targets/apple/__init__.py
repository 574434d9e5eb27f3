"""The Core ML backend: ONNX in, `.mlpackage` out, on any system; run by Core ML or interpreted."""

from edgewise.targets.apple.target import AppleTarget

__all__ = ["TARGET", "AppleTarget"]

TARGET = AppleTarget()

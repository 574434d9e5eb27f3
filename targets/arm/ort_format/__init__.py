"""ONNX Runtime's own file format, for builds that cannot read ONNX."""

from edgewise.targets.arm.ort_format.convert import OrtFile, convert

__all__ = ["OrtFile", "convert"]

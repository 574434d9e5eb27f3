"""TFLite files to ONNX, through tf2onnx, and run as they are in LiteRT."""

from edgewise.exporters.tflite.opener import open_tflite

__all__ = ["open_tflite"]

"""TFLite for Android: ONNX in, one `.tflite` file out, without TensorFlow.

`TARGET` is the public object; `edgewise.targets.get("android")` gives it.
"""

from edgewise.targets.android.target import AndroidTarget

__all__ = ["TARGET", "AndroidTarget"]

TARGET = AndroidTarget()

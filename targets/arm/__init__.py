"""ONNX for ARM CPUs: S8S8 QDQ models that ONNX Runtime's ARM64 kernels run in integers."""

from edgewise.targets.arm.target import TARGET, ArmTarget

__all__ = ["TARGET", "ArmTarget"]

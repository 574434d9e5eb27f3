"""An interpreter of Core ML programs: accuracy is measured on the saved package, on any system.

`program` reads the package, `plan` resolves it once, `kernels` say what each operation computes.
"""

from edgewise.targets.apple.interpreter.interpreter import Interpreter, TensorSpec

__all__ = ["Interpreter", "TensorSpec"]

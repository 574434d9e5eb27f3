"""What surely or probably keeps operations of a Core ML program off the Apple Neural Engine.

`rules` is the data, `measures` how the sizes in it are taken, `lint` the walk over a program.
"""

from edgewise.targets.apple.neural_engine.lint import Forecast, lint

__all__ = ["Forecast", "lint"]

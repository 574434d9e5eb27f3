"""The user's data as a stream of examples that fit the model."""

from edgewise.data.image import ImagePreprocessing
from edgewise.data.opening import open_source
from edgewise.data.peek import peek
from edgewise.data.source import DataSource, InputSpec, Sample
from edgewise.data.specs import fit_feeds, input_specs

__all__ = [
    "DataSource",
    "ImagePreprocessing",
    "InputSpec",
    "Sample",
    "fit_feeds",
    "input_specs",
    "open_source",
    "peek",
]

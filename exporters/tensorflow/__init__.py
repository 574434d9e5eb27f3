"""TensorFlow and Keras: model files, SavedModels, models and functions in memory."""

from edgewise.exporters.tensorflow.files import open_keras_file
from edgewise.exporters.tensorflow.functions import open_function
from edgewise.exporters.tensorflow.models import open_keras_model
from edgewise.exporters.tensorflow.saved_model import open_saved_model

__all__ = ["open_function", "open_keras_file", "open_keras_model", "open_saved_model"]

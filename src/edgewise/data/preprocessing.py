"""What is done to the user's data before a model sees it, by kind of data."""

from __future__ import annotations

from edgewise.data.image import ImagePreprocessing

Preprocessing = ImagePreprocessing

"""Hugging Face `transformers`: folders, hub names, and models in memory."""

from edgewise.exporters.huggingface.opening import open_folder, open_hub, open_object

__all__ = ["open_folder", "open_hub", "open_object"]

"""Whether the hub can be reached, asked once: transformers asks for half a minute before it gives
up, six times for the first file alone."""

from __future__ import annotations

from edgewise.errors import ModelError
from edgewise.exporters.extras import import_extra
from edgewise.exporters.huggingface.tasks import NEEDED_FOR
from edgewise.exporters.quiet import quiet

NOT_REACHED = (
    "There is no such path here; as a name on the Hugging Face hub it needs a connection, or a "
    "copy in its cache."
)
_CONFIG = "config.json"
_SECONDS = 5.0


def refuse_without_connection(name: str) -> None:
    """Raises ModelError: the model is not in the cache, and the hub does not answer in time.

    What it answers, such as that there is no such model, is left to transformers.
    """
    hub = import_extra("huggingface_hub", needed_for=NEEDED_FOR)
    with quiet():
        if isinstance(hub.try_to_load_from_cache(name, _CONFIG), str):
            return
        try:
            hub.get_hf_file_metadata(hub.hf_hub_url(name, _CONFIG), timeout=_SECONDS)
        except hub.errors.HfHubHTTPError:
            return
        except Exception as error:  # of whichever HTTP library it uses, or that it is set offline
            raise ModelError(
                "cannot load the model",
                where=name,
                why=f"the Hugging Face hub cannot be reached ({type(error).__name__})",
                remedy=NOT_REACHED,
            ) from error

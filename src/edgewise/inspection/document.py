"""The facts as a JSON document, and its schema: `docs/inspection.schema.json` is made here."""

from __future__ import annotations

import json
from typing import Any

from edgewise.inspection.facts import FORMAT, ModelFacts


def to_json(facts: ModelFacts) -> str:
    """What `edgewise inspect --json` prints."""
    return json.dumps(facts.as_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def inspection_schema() -> dict[str, Any]:
    """The JSON Schema of the document, from the types of `facts`."""
    from pydantic import TypeAdapter

    from edgewise.report.document import close_schema

    schema = TypeAdapter(ModelFacts).json_schema(mode="serialization")
    close_schema(schema)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Edgewise inspection"
    schema["properties"]["format"] = {"const": FORMAT}
    return schema

"""Write the JSON Schemas in this folder: of the project file, for editors, of `report.json`, and of
what `edgewise inspect --json` and `edgewise diagnose --json` write.

python docs/generate.py           write them
python docs/generate.py --check   fail when they are not up to date
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgewise.config import project_schema
from edgewise.diagnosis.document import diagnosis_schema
from edgewise.inspection.document import inspection_schema
from edgewise.report import report_schema

FOLDER = Path(__file__).parent
SCHEMAS: dict[str, Callable[[], dict[str, Any]]] = {
    "diagnosis.schema.json": diagnosis_schema,
    "edgewise.schema.json": project_schema,
    "inspection.schema.json": inspection_schema,
    "report.schema.json": report_schema,
}


def text_of(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = []
    for name, make in SCHEMAS.items():
        path, text = FOLDER / name, text_of(make())
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if not check:
                path.write_text(text, encoding="utf-8")
    if check and stale:
        raise SystemExit(f"not up to date: {', '.join(stale)}. Run python docs/generate.py.")


if __name__ == "__main__":
    main()

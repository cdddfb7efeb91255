"""``python -m services.api.schemas [FOLDER]``: write the generated descriptions of the surface.

Guarantee: the files follow from the code alone, so a test can tell that they are stale.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from contracts.codec import JsonObject, encode
from contracts.definitions import KINDS
from services.api.asyncapi import (
    RECORDS,
    WEBHOOK_MESSAGE,
    asyncapi_document,
    message_schema,
    record_schema,
)
from services.api.described import document_schema
from services.api.openapi import openapi_document
from services.api.table import ROUTES

FOLDER: Final = Path("contracts/schemas")


def schema_files() -> Mapping[str, bytes]:
    """Every generated file: its name and contents."""
    documents: dict[str, JsonObject] = {
        "openapi.json": openapi_document(ROUTES),
        "asyncapi.json": asyncapi_document(),
        f"records/{WEBHOOK_MESSAGE}.json": message_schema(),
    }
    for _, record_type, kind in RECORDS:
        documents[f"records/{record_type}.json"] = record_schema(kind, record_type)
    for kind, document in KINDS.items():
        name, parts = document_schema(document, "#/$defs/{name}")
        whole = parts.pop(name)
        documents[f"definitions/{kind}.json"] = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            **whole,
            "$defs": dict(sorted(parts.items())),
        }
    return {name: _pretty(document) for name, document in documents.items()}


def _pretty(document: JsonObject) -> bytes:
    plain: object = json.loads(encode(document))
    return (json.dumps(plain, indent=2, ensure_ascii=False) + "\n").encode()


def main() -> None:
    """Write what differs, and remove what is no longer generated."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    files = schema_files()
    for path in folder.rglob("*.json"):
        if path.relative_to(folder).as_posix() not in files:
            path.unlink()
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_bytes() != content:
            path.write_bytes(content)


if __name__ == "__main__":
    main()

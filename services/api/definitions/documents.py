"""The documents of an apply, from JSON or YAML.

Guarantee: what comes out names a kind and a name and has a spec; each fault is named by the place
of its document, ``/<index>/…``.
"""

from contracts.codec import Json
from contracts.errors import Fault, RefusedError, pointer_to, refuse
from services.api.call import Call
from services.api.definitions.planning import DOCUMENTS_MAX, Submitted
from services.api.routes import YAML
from services.api.yaml_text import read_yaml


def read_documents(call: Call) -> list[Submitted]:
    """The documents of an apply; raises ``RefusedError`` naming each that is none."""
    given = read_yaml(call.content) if call.media == YAML else call.json()
    documents = _flattened(given)
    if len(documents) > DOCUMENTS_MAX:
        raise refuse("", "documents", f"has more than {DOCUMENTS_MAX} documents")
    faults: list[Fault] = []
    found: list[Submitted] = []
    for index, document in enumerate(documents):
        if document is None and call.media == YAML:
            continue  # an empty document, as a trailing separator makes one
        try:
            found.append(_submitted(document, pointer_to("", index)))
        except RefusedError as error:
            faults.extend(error.faults)
    if faults:
        raise RefusedError(faults)
    if not found:
        raise refuse("", "documents", "has no documents")
    return found


def _flattened(given: Json) -> list[Json]:
    """A stream of documents, or one document that is the array of them."""
    if not isinstance(given, list):
        raise refuse("", "type", "is not an array of documents {kind, name, spec}")
    if len(given) == 1 and isinstance(given[0], list):
        return given[0]
    return given


def _submitted(document: Json, pointer: str) -> Submitted:
    if not isinstance(document, dict):
        raise refuse(pointer, "type", "is not an object {kind, name, spec}")
    faults = [
        Fault(pointer=pointer_to(pointer, name), code="unknown-field", detail="is unknown")
        for name in document
        if name not in ("kind", "name", "spec")
    ]
    kind, name, spec = document.get("kind"), document.get("name"), document.get("spec")
    for field, value in (("kind", kind), ("name", name)):
        if value is None:
            faults.append(_fault(pointer, field, "required", "is required"))
        elif not isinstance(value, str):
            faults.append(_fault(pointer, field, "type", "is not a string"))
    if spec is None:
        faults.append(_fault(pointer, "spec", "required", "is required"))
    if faults or not isinstance(kind, str) or not isinstance(name, str):
        raise RefusedError(faults)
    return Submitted(kind=kind, name=name, spec=spec, pointer=pointer)


def _fault(pointer: str, field: str, code: str, detail: str) -> Fault:
    return Fault(pointer=pointer_to(pointer, field), code=code, detail=detail)

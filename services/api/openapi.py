"""The OpenAPI 3.1 document, derived from the route table and the types it names."""

from collections.abc import Sequence
from typing import Final

from contracts.codec import JsonObject
from services.api.described import (
    REF,
    definition_schemas,
    document_schema,
    ingest_schemas,
    merged,
    struct_schemas,
)
from services.api.routes import JSON, Answers, Body, Param, PathParam, Route
from services.runtime.problems import MEDIA_TYPE, ProblemDocument

API_VERSION: Final = "1"
TITLE: Final = "Upshot"
DESCRIPTION: Final = (
    "Customer events in; segments, points, conversions and signed webhooks out. Every refusal is a "
    "problem document (RFC 9457) with the pointer of each fault, every answer has X-Request-Id."
)
WITH_BODY: Final = (400, 408, 413, 415)
EVERYWHERE: Final = (400, 404, 429, 503)
WITH_KEY: Final = (401, 403)
STATUSES: Final = {
    400: "Malformed, or refused by schema.",
    401: "No key, or none that is known.",
    403: "The key lacks a scope, which is named.",
    404: "It does not exist in the key's workspace.",
    408: "The body did not arrive in time.",
    409: "It contradicts what stands.",
    413: "The body is too large.",
    415: "The media type is not taken here.",
    422: "A rule forbids it.",
    429: "More than is taken at present; see Retry-After.",
    503: "A store does not answer, or the outcome is unknown; see Retry-After.",
}


def openapi_document(routes: Sequence[Route]) -> JsonObject:
    """Describe every route of the table, the gateway's too."""
    kinds = [route.answers.kind for route in routes if route.answers.kind is not None]
    answers, components = struct_schemas([ProblemDocument, *kinds])
    schema_of = dict(zip(map(id, kinds), answers[1:], strict=True))
    paths: JsonObject = {}
    for route in routes:
        methods = paths.setdefault(route.path.replace("*}", "}"), {})
        assert isinstance(methods, dict), "a path is an object of methods"
        answer = schema_of.get(id(route.answers.kind), {})
        methods[route.method.lower()] = _operation(route, answer)
    documents = [
        document_schema(route.body.document)[1]
        for route in routes
        if route.body is not None and route.body.document is not None
    ]
    schemas = merged([components, definition_schemas(), ingest_schemas(), *documents])
    return {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "version": API_VERSION, "description": DESCRIPTION},
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route in routes)],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic", "description": "The key as user."},
                "appToken": {"type": "apiKey", "in": "header", "name": "X-App-Token"},
            },
            "headers": {
                "RequestId": {
                    "description": "Names this request in logs and problems.",
                    "schema": {"type": "string"},
                },
                "RetryAfter": {
                    "description": "Seconds until another try is worth it.",
                    "schema": {"type": "integer"},
                },
            },
            "responses": {f"Problem{status}": _problem(status) for status in STATUSES},
            "schemas": dict(schemas),
        },
    }


def _operation(route: Route, answer: JsonObject) -> JsonObject:
    made: JsonObject = {
        "operationId": _operation_id(route),
        "tags": [route.tag],
        "summary": route.summary,
        "security": [] if route.is_open else [{"bearer": []}, {"basic": []}, {"appToken": []}],
        "responses": _responses(route, answer),
    }
    if route.scopes:
        whose = " Of keys of the installation's own workspace." if route.is_of_installation else ""
        scopes = " or ".join(f"`{scope}`" for scope in route.scopes)
        made["description"] = f"Scope: {scopes}.{whose}"
        made["x-upshot-scopes"] = list(route.scopes)
    parameters = [
        *(_path_parameter(param) for param in route.path_params),
        *(_parameter(param, "query") for param in route.query),
        *(_parameter(param, "header") for param in route.headers),
    ]
    if parameters:
        made["parameters"] = list(parameters)
    if route.body is not None:
        made["requestBody"] = _request_body(route.body)
    return made


def _operation_id(route: Route) -> str:
    if route.call is not None:
        return route.call.__name__
    return "_".join((route.method.lower(), *route.path.strip("/").split("/")[1:]))


def _request_body(body: Body) -> JsonObject:
    name = body.schema if body.document is None else body.document.__name__
    assert name is not None, "a body has a document or the name of a schema"
    schema: JsonObject = {"$ref": REF.format(name=name)}
    content: JsonObject = {
        media: {"schema": schema if media == JSON else {"type": "string"}} for media in body.media
    }
    return {"description": body.description, "required": body.required, "content": content}


def _responses(route: Route, answer: JsonObject) -> JsonObject:
    made: JsonObject = {str(route.answers.status): _response(route.answers, answer)}
    statuses = {*route.problems}
    if route.path.startswith("/v1/"):
        statuses |= {*EVERYWHERE}
    if not route.is_open:
        statuses |= {*WITH_KEY}
    if route.body is not None:
        statuses |= {*WITH_BODY}
    for status in sorted(statuses):
        made[str(status)] = {"$ref": f"#/components/responses/Problem{status}"}
    return made


def _response(answers: Answers, schema: JsonObject) -> JsonObject:
    headers: JsonObject = {"X-Request-Id": {"$ref": "#/components/headers/RequestId"}}
    for name, description in answers.headers:
        headers[name] = {"description": description, "schema": {"type": "string"}}
    content: JsonObject = {answers.media: {"schema": schema or {"type": "string"}}}
    return {"description": answers.description, "headers": headers, "content": content}


def _problem(status: int) -> JsonObject:
    headers: JsonObject = {"X-Request-Id": {"$ref": "#/components/headers/RequestId"}}
    if status in (429, 503):
        headers["Retry-After"] = {"$ref": "#/components/headers/RetryAfter"}
    schema: JsonObject = {"$ref": REF.format(name=ProblemDocument.__name__)}
    return {
        "description": STATUSES[status],
        "headers": headers,
        "content": {MEDIA_TYPE: {"schema": schema}},
    }


def _path_parameter(param: PathParam) -> JsonObject:
    schema: JsonObject = {"type": "string", "minLength": 1}
    if param.choices:
        schema["enum"] = list(param.choices)
    return {
        "name": param.name,
        "in": "path",
        "required": True,
        "description": param.description,
        "schema": schema,
        "example": param.example,
    }


def _parameter(param: Param, where: str) -> JsonObject:
    schema = _parameter_schema(param)
    if param.repeated:
        items = schema
        schema = _array(items)
    return {
        "name": param.name,
        "in": where,
        "required": param.required,
        "description": param.description,
        "schema": schema,
    }


def _parameter_schema(param: Param) -> JsonObject:
    match param.form:
        case "integer":
            return {"type": "integer", "minimum": param.least, "maximum": param.most}
        case "boolean":
            return {"type": "boolean"}
        case "time":
            return {"type": "string", "format": "date-time"}
        case "text":
            text: JsonObject = {"type": "string"}
            if param.pattern is not None:
                return text | {"pattern": param.pattern}
            if not param.repeated:
                text["maxLength"] = param.chars_max
            if param.choices:
                text["enum"] = list(param.choices)
            return text


def _array(items: JsonObject) -> JsonObject:
    return {"type": "array", "items": items}

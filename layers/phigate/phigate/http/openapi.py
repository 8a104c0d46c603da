"""The OpenAPI document: read from the same models and tables that check requests."""

from fastapi import APIRouter
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from phigate.core.errors import CallerError, GatewayError, PhigateError, UpstreamError
from phigate.core.release import RELEASE
from phigate.core.request.fields import FIELDS, HANDLINGS
from phigate.core.types import MODEL_TIERS, REGIONS, Json
from phigate.wire.openai.chat_body import ChatBody, RouteBody

_REF = "#/components/schemas/{model}"
# A model of the body, and where its members stand in the table.
_DESCRIBED = {
    "ChatBody": "",
    "RouteBody": "",
    "StreamOptions": "stream_options.",
    "Reasoning": "reasoning.",
    "Thinking": "thinking.",
    "ImageConfig": "image_config.",
    "ProviderPreferences": "provider.",
    "Debug": "debug.",
}
_REPORT = "/v1/attestation/report"
# What is given to a key's holder alone, by GET.
_KEYED = (
    "/v1/account",
    "/v1/receipts/{receipt_id}",
    "/v1/signature/{receipt_id}",
    _REPORT,
)
_PHI_VALUES = ["true", "false", "1", "0"]


def openapi_document(router: APIRouter) -> Json:
    """The whole document for one base path."""
    document = get_openapi(
        title="phigate",
        version=RELEASE,
        description="OpenAI-compatible chat with a residency and PHI gate on every call.",
        routes=router.routes,
    )
    models: list[tuple[type[BaseModel], str]] = [
        (ChatBody, "validation"),
        (RouteBody, "validation"),
    ]
    _, schemas = models_json_schema(models, ref_template=_REF)  # type: ignore[arg-type]
    components = document.setdefault("components", {})
    components["schemas"] = {**schemas["$defs"], "Error": _ERROR}
    components["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
    for model, member in _DESCRIBED.items():
        _describe(components["schemas"][model]["properties"], member)
    for path, (model, summary, streams) in _CHATS.items():
        document["paths"][path] = {"post": _chat(model, summary, streams=streams)}
    card = document["paths"]["/v1/pricing"]["get"]["responses"]["200"]["content"]
    card["text/html"] = {"schema": {"type": "string"}}
    receipt = document["paths"]["/v1/receipts/{receipt_id}"]["get"]["responses"]["200"]["content"]
    receipt["application/jose"] = {"schema": {"type": "string"}}
    document["paths"][_REPORT]["get"]["parameters"].append(_REGION)
    for path in _KEYED:
        document["paths"][path]["get"]["security"] = [{"bearer": []}]
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
            operation["responses"].update(_errors())
    return document


_CHATS = {
    "/v1/chat/completions": ("ChatBody", "Chat, vision, tools", True),
    "/v1/math/chat/completions": (
        "ChatBody",
        "Chat with programs: the model runs Python or R in a sandbox; general traffic, JSON alone",
        False,
    ),
    "/v1/route": ("RouteBody", "Dry run: no upstream call, no charge", False),
}


def _chat(model: str, summary: str, *, streams: bool) -> Json:
    # Without a schema: tools read one as that of an event, and there are three kinds of them.
    events: Json = {"text/event-stream": {}} if streams else {}
    return {
        "summary": summary,
        "security": [{"bearer": []}],
        "parameters": [
            _REGION,
            _header("X-PHI", "Admit only rows with an agreement in force.", _PHI_VALUES),
            _header("X-Model-Tier", "Preferred model tier; orders candidates.", MODEL_TIERS),
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": _REF.format(model=model)}}},
        },
        "responses": {
            "200": {
                "description": "The answer",
                "content": {"application/json": {"schema": {"type": "object"}}, **events},
            }
        },
    }


def _header(name: str, description: str, values: tuple[str, ...] | list[str]) -> Json:
    schema = {"type": "string", "enum": list(values)}
    return {"name": name, "in": "header", "description": description, "schema": schema}


_REGION = _header("X-Region", "Where data is processed.", REGIONS)


def _describe(properties: Json, member: str) -> None:
    for name, schema in properties.items():
        field = FIELDS[f"{member}{name}"]
        schema["description"] = (
            f"{field.what} OpenAI dialect: {HANDLINGS[field.openai]}. "
            f"Anthropic dialect: {HANDLINGS[field.anthropic]}."
        )


def _errors() -> Json:
    """One response per status, naming the codes that have it."""
    codes: dict[int, set[str]] = {}
    for kind in _kinds(PhigateError):
        if kind not in (PhigateError, CallerError, GatewayError, UpstreamError):
            codes.setdefault(kind.status, set()).add(kind.code)
    codes.setdefault(UpstreamError.status, set()).add(UpstreamError.code)
    content = {"application/json": {"schema": {"$ref": _REF.format(model="Error")}}}
    return {
        str(status): {"description": ", ".join(sorted(names)), "content": content}
        for status, names in sorted(codes.items())
    }


def _kinds(kind: type[PhigateError]) -> list[type[PhigateError]]:
    return [kind, *(deeper for sub in kind.__subclasses__() for deeper in _kinds(sub))]


_ERROR: Json = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "code", "param"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "code": {"type": "string"},
                "param": {"type": ["string", "null"]},
            },
        }
    },
}

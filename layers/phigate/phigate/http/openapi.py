"""What the OpenAPI document says beside the endpoints' own declarations: the chats, which are no
endpoints of the framework, and errors. What each member of a body is, its own shape says."""

from collections.abc import Awaitable, Callable, Sequence

from fastapi import APIRouter
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema
from starlette.routing import BaseRoute

from phigate.core.errors import CallerError, GatewayError, PhigateError, UpstreamError
from phigate.core.release import RELEASE
from phigate.core.types import MODEL_TIERS, REGIONS, Json
from phigate.http.dependencies import NEEDS_KEY
from phigate.http.response_models import Error
from phigate.wire.openai.chat_body import ChatBody, RouteBody

_REF = "#/components/schemas/{model}"
# What the framework would answer where it reads a body or a query itself; here it never does.
_NOT_OURS = ("HTTPValidationError", "ValidationError")


def openapi_document(routes: Sequence[BaseRoute]) -> Json:
    """The whole document for one base path."""
    document = get_openapi(
        title="phigate",
        version=RELEASE,
        description="OpenAI-compatible chat with a residency and PHI gate on every call.",
        routes=[*routes, *_chats().routes],
    )
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)
    schemas = document["components"]["schemas"]
    # As pydantic writes them: the framework drops defaults that are null, and writes bounds of 64
    # bits as floats.
    bodies: list[tuple[type[BaseModel], JsonSchemaMode]] = [
        (ChatBody, "validation"),
        (RouteBody, "validation"),
    ]
    schemas.update(models_json_schema(bodies, ref_template=_REF)[1]["$defs"])
    for name in _NOT_OURS:
        schemas.pop(name, None)
    return document


def _header(name: str, description: str, values: tuple[str, ...]) -> Json:
    schema = {"type": "string", "enum": list(values)}
    return {"name": name, "in": "header", "description": description, "schema": schema}


REGION_HEADER = _header("X-Region", "Where data is processed.", REGIONS)
_HEADERS = [
    REGION_HEADER,
    _header("X-PHI", "Admit only rows with an agreement in force.", ("true", "false", "1", "0")),
    _header("X-Model-Tier", "Preferred model tier; orders candidates.", MODEL_TIERS),
]


def _chats() -> APIRouter:
    """The endpoints whose bodies the pipeline reads. These are told, and never called."""
    router = APIRouter(responses=error_responses())
    for path, (name, body, summary, streams) in _CHATS.items():
        # Without a schema: tools read one as that of an event, and there are three kinds of them.
        events: Json = {"text/event-stream": {}} if streams else {}
        router.add_api_route(
            path,
            _told(body),
            methods=["POST"],
            name=name,
            summary=summary,
            dependencies=[NEEDS_KEY],
            responses={200: {"description": "The answer", "content": {**_OBJECT, **events}}},
            openapi_extra={"parameters": _HEADERS},
        )
    return router


_OBJECT: Json = {"application/json": {"schema": {"type": "object"}}}


def _told(body: type[BaseModel]) -> Callable[..., Awaitable[None]]:
    async def told(request: body) -> None:  # type: ignore[valid-type]
        raise AssertionError("this one is only in the document")

    return told


_CHATS: dict[str, tuple[str, type[BaseModel], str, bool]] = {
    "/v1/chat/completions": ("chat", ChatBody, "Chat, vision, tools", True),
    "/v1/math/chat/completions": (
        "math",
        ChatBody,
        "Chat with programs: the model runs Python or R in a sandbox; general traffic, JSON alone",
        False,
    ),
    "/v1/route": ("route", RouteBody, "Dry run: no upstream call, no charge", False),
}


def error_responses() -> dict[int | str, Json]:
    """One response per status, naming the codes that have it."""
    codes: dict[int, set[str]] = {}
    for kind in _kinds(PhigateError):
        if kind not in (PhigateError, CallerError, GatewayError, UpstreamError):
            codes.setdefault(kind.status, set()).add(kind.code)
    codes.setdefault(UpstreamError.status, set()).add(UpstreamError.code)
    return {
        status: {"description": ", ".join(sorted(names)), "model": Error}
        for status, names in sorted(codes.items())
    }


def _kinds(kind: type[PhigateError]) -> list[type[PhigateError]]:
    return [kind, *(deeper for sub in kind.__subclasses__() for deeper in _kinds(sub))]

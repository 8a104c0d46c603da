"""What every shape on the wire is built on: strict types, what becomes of unknown members, and the
marks by which a field says what may happen to it upstream.

A shape is the one place that says a member's name, its type and its marks: what may go upstream
under PHI (`wire.openai.field_policy`), what is left behind (`wire.openai.canonical`) and the
OpenAPI document are read from it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo

from phigate.core.request.fields import FIELDS, HANDLINGS
from phigate.core.types import Json

T = TypeVar("T")
MarkType = TypeVar("MarkType")

Count = Annotated[int, Field(ge=1)]
# A list that is read up to its first mistake: no more of them are told, and 100,000 take seconds.
Items = Annotated[list[T], Field(fail_fast=True)]


class Shape(BaseModel):
    """Strict types, unknown members kept. `SENDS_NULLS`: a null member goes upstream as it came."""

    model_config = ConfigDict(strict=True, extra="allow")
    SENDS_NULLS: ClassVar[bool] = True


class Exact(BaseModel):
    """Strict types, unknown members refused: nothing of it goes upstream as it came."""

    model_config = ConfigDict(strict=True, extra="forbid")


@dataclass(frozen=True, slots=True)
class Echo:
    """Marks what clients send back with an answer, and what nothing upstream gets."""


@dataclass(frozen=True, slots=True)
class MayHold:
    """Marks a list of objects that have no shape, and names the members that they may have."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NotUnderPhi:
    """Marks a member that is refused under PHI where it asks for anything; `why` follows its
    name."""

    why: str


def fields_of(shape: type[BaseModel]) -> Iterator[tuple[str, str, FieldInfo]]:
    """Each field of a shape: its attribute, its name on the wire, and what is declared of it."""
    for attribute, field in shape.model_fields.items():
        yield attribute, field.alias or attribute, field


def mark_of(field: FieldInfo, mark: type[MarkType]) -> MarkType | None:
    """A field's mark of one kind, if it has one."""
    return next((each for each in field.metadata if isinstance(each, mark)), None)


def marked(shape: type[BaseModel], mark: type[Any]) -> frozenset[str]:
    """The names on the wire of the fields that have a mark."""
    return frozenset(
        name for _, name, field in fields_of(shape) if mark_of(field, mark) is not None
    )


def described(member: str = "") -> Callable[[Json], None]:
    """`json_schema_extra` of a shape: each of its members as `core.request.fields` describes it.

    `member` is the one whose value has this shape; none for the body. A member without a row there
    is a KeyError.
    """
    prefix = f"{member}." if member else ""

    def describe(schema: Json) -> None:
        for name, property_schema in schema["properties"].items():
            field = FIELDS[f"{prefix}{name}"]
            property_schema["description"] = (
                f"{field.what} OpenAI dialect: {HANDLINGS[field.openai]}. "
                f"Anthropic dialect: {HANDLINGS[field.anthropic]}."
            )

    return describe

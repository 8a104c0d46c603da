"""What every shape on the wire is built on: strict types, and what becomes of unknown members."""

from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field

T = TypeVar("T")

Count = Annotated[int, Field(ge=1)]
# A list that is read up to its first mistake: no more of them are told, and 100,000 take seconds.
Items = Annotated[list[T], Field(fail_fast=True)]


class Shape(BaseModel):
    """Strict types, unknown members kept."""

    model_config = ConfigDict(strict=True, extra="allow")


class Exact(BaseModel):
    """Strict types, unknown members refused: nothing of it goes upstream as it came."""

    model_config = ConfigDict(strict=True, extra="forbid")

"""What every shape on the wire is built on: strict types, and what becomes of unknown members."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Count = Annotated[int, Field(ge=1)]


class Shape(BaseModel):
    """Strict types, unknown members kept."""

    model_config = ConfigDict(strict=True, extra="allow")


class Exact(BaseModel):
    """Strict types, unknown members refused: nothing of it goes upstream as it came."""

    model_config = ConfigDict(strict=True, extra="forbid")

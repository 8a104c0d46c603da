"""The settings of each function on AWS, a model a function: read once, or refused in one line.

Law: nothing is guessed. What is missing or malformed stops the start, and so does a variable that
would say where a provider's data goes, or that PHI may go there: on AWS only the catalog and the
secrets say that.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, get_args

from phigate.aws import variables as read
from phigate.aws.variables import Variable, WhereSet

Function = Literal["chat", "math", "directory", "catalog_sync", "sweeper"]
FUNCTIONS: tuple[Function, ...] = get_args(Function)

_LOCAL_ONLY = re.compile(r"PHIGATE_[A-Z0-9_]+_(?:BASE_URL|API_KEY|PHI)")


class SettingsRefused(Exception):
    """This function does not start; one line names each variable and what is wrong with it."""


# Named tuples: a frozen dataclass with slots takes ten times as long to make, at every cold start.
# Mistakes are told in the order of the members.
class CommonSettings(NamedTuple):
    """What every function has."""

    table: Annotated[str, Variable("PHIGATE_TABLE")]
    stack: Annotated[str, Variable("PHIGATE_STACK")]
    aws_region: Annotated[str, Variable("AWS_REGION", read.aws_region)]


class ResidencySettings(NamedTuple):
    """The region of calls that name none, and those that the stack serves."""

    region: Annotated[str, Variable("PHIGATE_REGION", read.region)]
    jurisdictions: Annotated[tuple[str, ...], Variable("PHIGATE_JURISDICTIONS", read.regions)]


class ServerSettings(NamedTuple):
    """What every function has that callers reach."""

    issuer: Annotated[str, Variable("PHIGATE_ISSUER", read.issuer)]
    residency: ResidencySettings
    unproven_allowed: Annotated[
        frozenset[str], Variable("PHIGATE_ALLOW_UNPROVEN", read.rows, may_be_empty=True)
    ]


class ReceiptSettings(NamedTuple):
    """What every function has that signs receipts."""

    required: Annotated[
        Literal["phi", "all", "none"],
        Variable("PHIGATE_RECEIPTS_REQUIRED", read.one_of("phi", "all", "none")),
    ]
    key: Annotated[str, Variable("PHIGATE_RECEIPT_KEY")]


class SandboxSettings(NamedTuple):
    """Where sandboxes run, how many, and under which secret their tokens are made."""

    cluster: Annotated[str, Variable("PHIGATE_CLUSTER")]
    task_definition: Annotated[str, Variable("PHIGATE_TASK_DEFINITION")]
    subnets: Annotated[tuple[str, ...], Variable("PHIGATE_SUBNETS", read.names)]
    security_groups: Annotated[tuple[str, ...], Variable("PHIGATE_SECURITY_GROUPS", read.names)]
    image: Annotated[str, Variable("PHIGATE_SANDBOX_IMAGE")]
    warm_pool: Annotated[int, Variable("PHIGATE_WARM_POOL", read.count(0))]
    per_account: Annotated[int, Variable("PHIGATE_SANDBOXES_PER_ACCOUNT", read.count(1))]
    per_stack: Annotated[int, Variable("PHIGATE_SANDBOXES_PER_STACK", read.count(1))]
    secret_name: Annotated[str, Variable("PHIGATE_SANDBOX_SECRET")]


class ChatSettings(NamedTuple):
    """The chat function's."""

    common: CommonSettings
    server: ServerSettings
    receipts: ReceiptSettings
    catalog_key: Annotated[str, Variable("PHIGATE_CATALOG_KEY")]
    secrets: Annotated[str, Variable("PHIGATE_SECRETS")]
    is_streaming: Annotated[bool, Variable("PHIGATE_STREAMING", read.is_on)]


class MathSettings(NamedTuple):
    """The math function's."""

    common: CommonSettings
    server: ServerSettings
    receipts: ReceiptSettings
    catalog_key: Annotated[str, Variable("PHIGATE_CATALOG_KEY")]
    secrets: Annotated[str, Variable("PHIGATE_SECRETS")]
    is_streaming: Annotated[bool, Variable("PHIGATE_STREAMING", read.is_on)]
    sandboxes: SandboxSettings


class DirectorySettings(NamedTuple):
    """The directory function's."""

    common: CommonSettings
    server: ServerSettings
    catalog_key: Annotated[str, Variable("PHIGATE_CATALOG_KEY")]
    redpill_key: Annotated[str, Variable("PHIGATE_REDPILL_KEY")]
    secrets: Annotated[str, Variable("PHIGATE_SECRETS")]


class CatalogSyncSettings(NamedTuple):
    """The catalog_sync function's."""

    common: CommonSettings
    receipt_key: Annotated[str, Variable("PHIGATE_RECEIPT_KEY")]
    catalog_key: Annotated[str, Variable("PHIGATE_CATALOG_KEY")]
    day_key: Annotated[str, Variable("PHIGATE_DAY_KEY")]
    redpill_key: Annotated[str, Variable("PHIGATE_REDPILL_KEY")]
    catalog_folder: Annotated[str, Variable("PHIGATE_CATALOG_FOLDER")]


class SweeperSettings(NamedTuple):
    """The sweeper function's. A stack may have no bucket and no sandboxes."""

    common: CommonSettings
    residency: ResidencySettings
    day_key: Annotated[str, Variable("PHIGATE_DAY_KEY")]
    digest_bucket: Annotated[str, Variable("PHIGATE_DIGEST_BUCKET", may_be_empty=True)]
    sandboxes: Annotated[SandboxSettings | None, WhereSet("PHIGATE_CLUSTER")]


# Of the functions that callers reach.
ServedSettings = ChatSettings | MathSettings | DirectorySettings
FunctionSettings = ServedSettings | CatalogSyncSettings | SweeperSettings
SETTINGS: Mapping[Function, type[FunctionSettings]] = {
    "chat": ChatSettings,
    "math": MathSettings,
    "directory": DirectorySettings,
    "catalog_sync": CatalogSyncSettings,
    "sweeper": SweeperSettings,
}
_FUNCTIONS: Mapping[type[object], Function] = {
    model: function for function, model in SETTINGS.items()
}
S = TypeVar("S", bound=FunctionSettings)


def function_of(model: type[object]) -> Function:
    """Whose settings these are."""
    return _FUNCTIONS[model]


def read_settings(environ: Mapping[str, str], model: type[S]) -> S:
    """The settings of a function. Raises SettingsRefused."""
    faults = [
        f"{name} may not be set on AWS: only the catalog and the secrets say where data goes"
        for name in sorted(environ)
        if _LOCAL_ONLY.fullmatch(name)
    ]
    values: dict[str, Any] = {}
    for variable in variables_of(model, environ):
        text = environ.get(variable.name, "").strip()
        if not text and not variable.may_be_empty:
            faults.append(f"{variable.name} is missing")
            continue
        try:
            values[variable.name] = variable.read(text)
        except ValueError as exc:
            faults.append(f"{variable.name} {exc}")
    region, jurisdictions = values.get("PHIGATE_REGION"), values.get("PHIGATE_JURISDICTIONS")
    if region and jurisdictions and region not in jurisdictions:
        faults.append("PHIGATE_REGION is none of PHIGATE_JURISDICTIONS")
    if faults:
        raise SettingsRefused(f"{function_of(model)} does not start: " + "; ".join(faults))
    filled: S = _filled(model, values)
    return filled


def variables_of(model: Any, environ: Mapping[str, str] | None = None) -> Iterator[Variable]:
    """The variables of a model, in order: all of them, or those that are read of an environment."""
    for kind in model.__annotations__.values():
        place = _place(kind)
        if isinstance(place, Variable):
            yield place
        elif not isinstance(place, WhereSet):
            yield from variables_of(kind, environ)
        elif environ is None or environ.get(place.name):
            yield from variables_of(_part(kind), environ)


def _filled(model: Any, values: Mapping[str, Any]) -> Any:
    members: dict[str, Any] = {}
    for name, kind in model.__annotations__.items():
        place = _place(kind)
        if isinstance(place, Variable):
            members[name] = values[place.name]
        elif not isinstance(place, WhereSet):
            members[name] = _filled(kind, values)
        else:
            is_set = place.name in values
            members[name] = _filled(_part(kind), values) if is_set else None
    return model(**members)


def _place(kind: Any) -> Variable | WhereSet | None:
    """What fills a member; None for a part that has members of its own."""
    return kind.__metadata__[0] if hasattr(kind, "__metadata__") else None


def _part(kind: Any) -> Any:
    """The model of a part that may be missing."""
    return kind.__origin__.__args__[0]

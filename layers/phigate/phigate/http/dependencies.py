"""What endpoints are given: the gateway of their application, and whose key calls."""

from typing import Annotated, cast

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer

from phigate import attestation as redpill
from phigate.core.types import Principal
from phigate.http.chat import headers_of
from phigate.pipeline.authenticate import authenticate
from phigate.pipeline.gateway import Gateway


async def _gateway(request: Request) -> Gateway:
    return cast(Gateway, request.app.state.gateway)


ServedGateway = Annotated[Gateway, Depends(_gateway)]
# Says so in the document; what a key is and opens, the pipeline decides.
NEEDS_KEY = Security(HTTPBearer(scheme_name="bearer", auto_error=False))


async def _principal(request: Request, gateway: ServedGateway) -> Principal:
    return await authenticate(gateway, headers_of(request.scope))


async def _admitted(request: Request, gateway: ServedGateway) -> Principal:
    return await redpill.admitted(gateway, headers_of(request.scope))


# Whose key it is; and the same where each call is counted, since it may cost a signature.
CallingPrincipal = Annotated[Principal, Depends(_principal)]
AdmittedPrincipal = Annotated[Principal, Depends(_admitted)]

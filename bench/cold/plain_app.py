"""The plain equivalent: FastAPI, httpx, boto3 and Powertools pass a stream through after looking a
key up.

It checks, meters, signs and charges nothing; what it does is what every such gateway must.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import boto3
import httpx
from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.responses import StreamingResponse

LOG = Logger(service="plain")
METRICS = Metrics(namespace="plain", service="plain")


class Body(BaseModel):
    """A chat completion's request."""

    model: str
    messages: list[dict[str, Any]]
    stream: bool = False


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Clients, made once."""
    app.state.table = boto3.client(
        "dynamodb", endpoint_url=os.environ["BENCH_AWS"], region_name=os.environ["AWS_REGION"]
    )
    app.state.upstream = httpx.AsyncClient(base_url=os.environ["BENCH_PROVIDERS"], timeout=60)
    yield
    await app.state.upstream.aclose()


def application() -> FastAPI:
    """The ASGI application."""
    app = FastAPI(lifespan=lifespan)

    @app.post("/v1/chat/completions")
    async def chat(body: Body) -> StreamingResponse:
        key = {"pk": {"S": "KEY#plain"}, "sk": {"S": "KEY"}}
        app.state.table.get_item(TableName="phigate", Key=key)
        asked = app.state.upstream.build_request(
            "POST",
            "/infomaniak/v1/chat/completions",
            json={**body.model_dump(), "model": "google/gemma-4-31B-it"},
            headers={"authorization": "Bearer simulated"},
        )
        answer = await app.state.upstream.send(asked, stream=True)
        LOG.info("answered", status=answer.status_code)
        METRICS.add_metric(name="Answers", unit=MetricUnit.Count, value=1)
        METRICS.flush_metrics()
        return StreamingResponse(
            answer.aiter_bytes(), answer.status_code, media_type="text/event-stream"
        )

    return app

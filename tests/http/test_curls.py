"""The curls of the public descriptions, run as printed but for the base URL."""

import os
import subprocess

import pytest

from tests.local.running import RunningStack

PRINTED_BASE_URL = "https://phi-cloud.com/api/v1"

CHAT = """curl https://phi-cloud.com/api/v1/chat/completions \\
  -H "Authorization: Bearer $PHI_API_KEY" \\
  -H "X-Region: CH" \\
  -H "X-PHI: true" \\
  -H "Content-Type: application/json" \\
  -d '{
    "model": "gemma-4",
    "messages": [
      {"role": "user", "content": "Summarise this discharge note..."}
    ]
  }'"""
# Without a JSON content type, and with an image that is cut short.
VISION = """curl https://phi-cloud.com/api/v1/chat/completions \\
  -H "Authorization: Bearer $PHI_API_KEY" \\
  -H "X-Region: CH" -H "X-PHI: true" \\
  -d '{
    "model": "gemma-4",
    "messages": [{"role":"user","content":[
      {"type":"text","text":"What does this form say?"},
      {"type":"image_url","image_url":{"url":"data:image/png;base64,iVBOR..."}}
    ]}]
  }'"""


@pytest.mark.parametrize("printed", [CHAT, VISION], ids=["chat", "vision"])
def test_a_printed_curl_is_answered_where_it_says(
    printed: str, stack: RunningStack, key: str
) -> None:
    assert printed.startswith(f"curl {PRINTED_BASE_URL}/")
    command = printed.replace(PRINTED_BASE_URL, f"{stack.url}/api/v1").replace(
        "curl ", "curl -sS -i ", 1
    )
    ran = subprocess.run(
        ["bash", "-c", command],
        env={**os.environ, "PHI_API_KEY": key},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    head, _, body = ran.stdout.partition("\n\n")
    lines = {line.lower() for line in head.splitlines()}
    assert {
        "http/1.1 200 ok",
        "x-phi-routed: infomaniak-gemma-4-31b/ch/phi",
        "x-phi-tier: phi",
        "x-phi-attempts: 1",
        "x-phi-usage: verified",
    } <= lines
    assert '"finish_reason":"stop"' in body

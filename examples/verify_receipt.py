"""Fetch the receipt of an answer and check it, with the very bytes that were sent and received.

`phigate verify` needs no network: it recomputes hashes, cost and signatures from files.
"""

import json
import os
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

BASE_URL = os.environ["OPENAI_BASE_URL"]
KEY = {"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}
BODY = {"model": "gemma-4", "messages": [{"role": "user", "content": "Is metformin safe at 80?"}]}

with TemporaryDirectory() as name, httpx.Client(headers=KEY) as http:
    folder = Path(name)
    sent = json.dumps(BODY).encode()
    answer = http.post(
        f"{BASE_URL}/chat/completions", content=sent, headers={"X-Region": "CH", "X-PHI": "true"}
    )
    receipt_id = answer.headers["x-phi-receipt"]
    nonce = subprocess.run(["phigate", "nonce", receipt_id], check=True, capture_output=True).stdout
    keys = http.get(f"{BASE_URL.removesuffix('/v1')}/.well-known/jwks.json")
    files = {
        "sent.json": sent,
        "got.json": answer.content,
        "receipt.json": http.get(f"{BASE_URL}/receipts/{receipt_id}").content,
        "jwks.json": keys.content,
        "nonce.txt": nonce,  # a PHI hash says nothing to whoever does not have it
    }
    for file, content in files.items():
        (folder / file).write_bytes(content)
    verified = subprocess.run(
        ["phigate", "verify", "receipt.json", "--jwks", "jwks.json", "--nonce-file", "nonce.txt"]
        + ["--request", "sent.json", "--response", "got.json"],
        cwd=folder,
        check=False,
    )
print(f"receipt {receipt_id}: {'it holds' if verified.returncode == 0 else 'it does not hold'}")
raise SystemExit(verified.returncode)

"""What the gateway says about itself: models, prices, the dry run, the account, its document."""

import json
from html.parser import HTMLParser
from typing import Any

import jsonschema_rs
import pytest

from phigate.core.types import Json, KeyPolicy
from phigate.wire.openai.chat_body import ChatBody
from tests.builders import make_body
from tests.http.calls import IMAGE, assert_envelope
from tests.local.running import HttpAnswer, RunningStack

BASES = ("", "/api")
# Region, row, model, tier and prices of both public rate cards, USD per million tokens.
CARD = {
    "infomaniak-gemma-4-31b": (["CH"], "google/gemma-4-31B-it", "phi", "0.24", "0.48"),
    "infomaniak-qwen3.5": (["CH"], "Qwen/Qwen3.5-397B-A17B", "phi", "0.97", "4.36"),
    "scaleway-gemma-4-26b": (["EU"], "gemma-4-26b-a4b-it", "phi", "0.30", "0.59"),
    "scaleway-qwen3.6-35b": (["EU"], "qwen3.6-35b-a3b", "phi", "0.47", "1.78"),
    "together-qwen3.5": (["US"], "Qwen/Qwen3.5-397B-A17B", "general", "0.77", "3.85"),
    "together-glm-5.2": (["US"], "zai-org/GLM-5.2", "general", "0.66", "2.41"),
    "anthropic-claude-sonnet-4-6": (
        ["EU", "US", "WORLD"],
        "claude-sonnet-4-6",
        "general",
        "3.30",
        "16.50",
    ),
    "google-gemini-2-5-flash": (None, "google/gemini-2.5-flash", "general", "0.33", "2.75"),
    "azure-gpt-4o": (["US"], "gpt-4o", "general", "2.75", "11.00"),
}


@pytest.mark.parametrize("base", BASES)
def test_models_lists_every_row_with_what_a_caller_needs(stack: RunningStack, base: str) -> None:
    told = stack.call("GET", f"{base}/v1/models")
    assert told.status == 200
    assert told.headers["content-type"] == "application/json"
    listed = told.json
    assert listed["object"] == "list"
    rows = {item["id"]: item for item in listed["data"]}
    assert set(CARD) <= set(rows)
    gemma = rows["infomaniak-gemma-4-31b"]
    assert gemma["agreement"].pop("expires") > "2026"
    for name in ("kind", "regions", "effective", "evidence_sha256"):
        gemma["agreement"].pop(name)
    assert gemma == {
        "id": "infomaniak-gemma-4-31b",
        "object": "model",
        "created": 0,
        "owned_by": "infomaniak",
        "model": "google/gemma-4-31B-it",
        "aliases": ["gemma-4"],
        "regions": ["CH"],
        "tier": "phi",
        "agreement": {
            "id": "infomaniak-dpa-2026",
            "law": "nFADP",
            "zero_retention": True,
            "no_training": True,
        },
        "residency": {"CH": "contract"},
        "status": "live",
        "model_tier": "baseline",
        "supports_tools": False,
        "supports_vision": True,
        "supports_json_schema": True,
        "confidential": False,
        "context": 131072,
        "tokens_out_max": 8192,
        "price": {
            "in_usd_per_mtok": "0.24",
            "out_usd_per_mtok": "0.48",
            "cache_read_usd_per_mtok": "0.24",
            "cache_write_usd_per_mtok": "0.24",
        },
    }
    assert rows["azure-gpt-4o"]["status"] == "staged"
    assert rows["together-qwen3.5"]["agreement"] is None


def test_one_model_is_its_item_of_the_list(stack: RunningStack) -> None:
    for item in stack.call("GET", "/v1/models").json["data"]:
        for base in BASES:
            assert stack.call("GET", f"{base}/v1/models/{item['id']}").json == item


@pytest.mark.parametrize(
    "row", ["none", "google/gemma-4-31B-it", "a/b/c", "%2e%2e", "%ff", "", "gpt-4%0a", "a" * 2000]
)
def test_an_unknown_model_is_404(stack: RunningStack, row: str) -> None:
    assert_envelope(stack.call("GET", f"/v1/models/{row}"), 404, "not_found", "id")


@pytest.mark.parametrize("base", BASES)
def test_the_card_comes_out_to_the_cent(stack: RunningStack, base: str) -> None:
    card = stack.call("GET", f"{base}/v1/pricing").json
    assert (card["currency"], card["margin_percent"]) == ("USD", 10)
    assert card["card"].startswith("sha256:")
    rows = {row["row"]: row for row in card["rows"]}
    for row_id, (regions, model, tier, tokens_in, tokens_out) in CARD.items():
        row = rows[row_id]
        assert (row["model"], row["tier"]) == (model, tier)
        assert (row["in_usd_per_mtok"], row["out_usd_per_mtok"]) == (tokens_in, tokens_out)
        assert row["provider"] == row_id.partition("-")[0]
        assert regions is None or row["regions"] == regions
    assert "WORLD" in rows["google-gemini-2-5-flash"]["regions"]


class Table(HTMLParser):
    """The cells of a page's table, row by row."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self._in_cell = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """As the base says."""
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        """As the base says."""
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data: str) -> None:
        """As the base says."""
        if self._in_cell:
            self.rows[-1][-1] += data


BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


def test_a_browser_gets_the_card_as_a_page(stack: RunningStack) -> None:
    told = stack.call("GET", "/v1/pricing", headers=[("accept", BROWSER)])
    assert told.headers["content-type"] == "text/html; charset=utf-8"
    page = told.body.decode()
    cells = {row[0]: row for row in Table(page).rows}
    for row_id, (_, model, tier, tokens_in, tokens_out) in CARD.items():
        assert cells[row_id][1] == model
        assert cells[row_id][3] == tier
        assert cells[row_id][-2:] == [tokens_in, tokens_out]
    assert stack.call("GET", "/v1/pricing").json["card"] in page


@pytest.mark.parametrize("accept", ["*/*", "application/json", ""])
def test_everybody_else_gets_json(stack: RunningStack, accept: str) -> None:
    told = stack.call("GET", "/v1/pricing", headers=[("accept", accept)])
    assert told.headers["content-type"] == "application/json"


def test_the_live_card_is_found_by_its_hash(stack: RunningStack) -> None:
    live = stack.call("GET", "/v1/pricing").json
    for name in (live["card"], live["card"].removeprefix("sha256:")):
        assert stack.call("GET", f"/v1/pricing?card={name}").json == live


@pytest.mark.parametrize(
    "card", ["sha256:" + "0" * 64, "0" * 64, "", "sha256:", "x", "%00", "%ff", "a" * 3000]
)
def test_an_unknown_card_is_404(stack: RunningStack, card: str) -> None:
    told = stack.call("GET", f"/v1/pricing?card={card}")
    assert_envelope(told, 404, "not_found", "card")


CHAT_CASES: dict[str, tuple[dict[str, str], Json, KeyPolicy]] = {
    "PHI in Switzerland": (
        {"x-region": "CH", "x-phi": "true"},
        make_body(model="gemma-4"),
        KeyPolicy(),
    ),
    "a stream in Europe": (
        {"x-region": "EU"},
        make_body(model="qwen3.6", stream=True),
        KeyPolicy(),
    ),
    "auto": ({"x-region": "US"}, make_body(model="auto"), KeyPolicy()),
    "auto, thinking": (
        {"x-region": "CH", "x-model-tier": "thinking"},
        make_body(model="auto"),
        KeyPolicy(),
    ),
    "a model of another region": ({"x-region": "US"}, make_body(model="gemma-4"), KeyPolicy()),
    "a provider preferred": (
        {"x-region": "US"},
        make_body(model="auto", provider={"order": ["together-glm-5.2", "together"]}),
        KeyPolicy(),
    ),
    "the key's default region": ({}, make_body(model="auto"), KeyPolicy(default_region="EU")),
    "an image": (
        {"x-region": "EU", "x-phi": "1"},
        {"model": "auto", "messages": [{"role": "user", "content": IMAGE}]},
        KeyPolicy(),
    ),
    "few tokens": ({"x-region": "CH"}, make_body(model="qwen3.5", max_tokens=7), KeyPolicy()),
    "PHI in the US": ({"x-region": "US", "x-phi": "true"}, make_body(model="auto"), KeyPolicy()),
    "PHI vision in the US": (
        {"x-region": "US", "x-phi": "true"},
        {"model": "auto", "messages": [{"role": "user", "content": IMAGE}]},
        KeyPolicy(),
    ),
    "no provider left": (
        {"x-region": "CH"},
        make_body(model="gemma-4", provider={"ignore": ["infomaniak"]}),
        KeyPolicy(),
    ),
    "no fallback": (
        {"x-region": "US"},
        make_body(model="gemma-4", provider={"allow_fallbacks": False}),
        KeyPolicy(),
    ),
    "a named tool of a row without tools": (
        {"x-region": "CH"},
        make_body(
            model="gemma-4",
            tools=[{"type": "function", "function": {"name": "f"}}],
            tool_choice="required",
            provider={"allow_fallbacks": False},
        ),
        KeyPolicy(),
    ),
}


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("name", CHAT_CASES)
def test_the_dry_run_decides_as_the_live_call_does(
    stack: RunningStack, account: str, name: str, base: str
) -> None:
    headers, body, policy = CHAT_CASES[name]
    key = stack.new_key(account, policy)
    dry = stack.call(
        "POST", f"{base}/v1/route", key=key, body=body, headers=list(headers.items())
    ).json
    before = stack.account(key)
    live = stack.call(
        "POST", "/v1/chat/completions", key=key, body=body, headers=[*headers.items()]
    )
    assert before["spent_micro"] == before["held_micro"] == 0
    assert set(dry) >= {"region", "phi", "decision", "code", "candidates", "rejections"}
    if live.status != 200:
        assert (dry["decision"], dry["code"]) == ("refused", live.error["code"])
        assert (dry["candidates"], dry["cost_max_micro"]) == ([], 0)
        assert dry["rejections"]
        return
    assert (dry["decision"], dry["code"]) == ("routed", None)
    first = dry["candidates"][0]
    tier = "phi" if dry["phi"] else "general"
    assert live.headers["x-phi-routed"] == f"{first['row']}/{first['region']}/{tier}"
    assert dry["cost_max_micro"] == max(c["cost_max_micro"] for c in dry["candidates"])
    assert _cost(live) <= dry["cost_max_micro"]
    limit = live.headers.get("x-phi-max-tokens")
    assert dry["max_tokens"] == (int(limit) if limit else body["max_tokens"])


def _cost(told: HttpAnswer) -> int:
    if "x-phi-cost-micro" in told.headers:
        return int(told.headers["x-phi-cost-micro"])
    *_, comment, done = told.body.decode().strip().split("\n\n")
    assert done == "data: [DONE]"
    cost: int = json.loads(comment.removeprefix(": phi "))["cost_micro"]
    return cost


def test_both_kinds_of_decision_stand_in_the_table(stack: RunningStack, key: str) -> None:
    codes = {
        stack.call("POST", "/v1/route", key=key, body=body, headers=list(headers.items())).json[
            "code"
        ]
        for headers, body, policy in CHAT_CASES.values()
        if policy == KeyPolicy()
    }
    assert codes == {None, "phi_blocked", "no_route"}


def test_the_dry_run_takes_a_body_without_messages(stack: RunningStack, key: str) -> None:
    told = stack.call("POST", "/v1/route", key=key, body={"model": "gemma-4"})
    assert (told.status, told.json["decision"]) == (200, "routed")
    assert stack.account(key)["spent_micro"] == 0


def test_the_account_is_exact_after_a_call(stack: RunningStack, account: str, key: str) -> None:
    told = stack.chat(make_body(model="gemma-4"), key, x_region="CH", x_phi="true")
    cost = int(told.headers["x-phi-cost-micro"])
    usage = told.json["usage"]
    # 0.24 and 0.48 USD per million tokens, rounded up to whole micro-USD.
    assert cost == -(-(usage["prompt_tokens"] * 24 + usage["completion_tokens"] * 48) // 100)
    stack.settled_account(key)
    for base in BASES:
        view = stack.call("GET", f"{base}/v1/account", key=key).json
        policy = view["key"].pop("policy")
        key_id = view["key"].pop("id")
        assert view == {
            "account": account,
            "available_micro": 1_000_000 - cost,
            "held_micro": 0,
            "spent_micro": cost,
            "topped_up_micro": 1_000_000,
            "key": {},
        }
        assert (policy["phi"], policy["rpm"]) == ("allowed", 600)
        assert len(key_id) == 12
        assert key_id not in key


def test_two_keys_of_an_account_share_its_credit(
    stack: RunningStack, account: str, key: str
) -> None:
    other = stack.new_key(account)
    stack.chat(make_body(model="gemma-4"), key)
    first, second = stack.account(key), stack.account(other)
    assert first["key"]["id"] != second["key"]["id"]
    assert first["spent_micro"] == second["spent_micro"] > 0


@pytest.mark.parametrize("base", BASES)
def test_health_needs_no_key_and_counts(stack: RunningStack, base: str) -> None:
    health = stack.call("GET", f"{base}/healthz").json
    assert health["status"] == "ok"
    assert health["dynamodb_calls"]["GetItem"] > 0


@pytest.fixture(scope="module")
def document(stack: RunningStack) -> Json:
    """The OpenAPI document."""
    told = stack.call("GET", "/openapi.json")
    assert told.headers["content-type"] == "application/json"
    assert stack.call("GET", "/api/openapi.json").json == told.json
    return told.json


def _objects(value: Any) -> list[Json]:
    """Every object of a JSON value."""
    if isinstance(value, list):
        return [found for each in value for found in _objects(each)]
    if isinstance(value, dict):
        return [value, *(found for each in value.values() for found in _objects(each))]
    return []


def test_the_document_is_openapi_3_whose_references_resolve(document: Json) -> None:
    assert document["openapi"].startswith("3.1.")
    assert document["info"]["title"] == "phigate"
    schemas = document["components"]["schemas"]
    for schema in schemas.values():
        jsonschema_rs.meta.validate(
            {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
        )
    names = {found["$ref"] for found in _objects(document) if "$ref" in found}
    assert names
    assert names <= {f"#/components/schemas/{name}" for name in schemas}


def test_the_document_has_every_endpoint_and_the_envelope_for_every_error(document: Json) -> None:
    assert set(document["paths"]) == {
        "/v1/chat/completions",
        "/v1/math/chat/completions",
        "/v1/models",
        "/v1/models/{row_id}",
        "/v1/pricing",
        "/v1/route",
        "/v1/account",
        "/v1/receipts/{receipt_id}",
        "/v1/signature/{receipt_id}",
        "/v1/attestation/report",
        "/.well-known/jwks.json",
        "/.well-known/receipt.schema.json",
        "/healthz",
    }
    for path in document["paths"].values():
        for operation in path.values():
            responses = operation["responses"]
            assert {"200", "400", "401", "404", "405", "500", "503"} <= set(responses)
            for status, response in responses.items():
                if status >= "400":
                    schema = response["content"]["application/json"]["schema"]
                    assert schema == {"$ref": "#/components/schemas/Error"}


def test_the_document_names_what_is_no_json(document: Json) -> None:
    kinds = {
        path: set(operation["responses"]["200"]["content"])
        for path, operations in document["paths"].items()
        for operation in operations.values()
    }
    assert kinds.pop("/v1/chat/completions") == {"application/json", "text/event-stream"}
    assert kinds.pop("/v1/pricing") == {"application/json", "text/html"}
    assert kinds.pop("/v1/receipts/{receipt_id}") == {"application/json", "application/jose"}
    assert all(kind == {"application/json"} for kind in kinds.values())


def test_the_document_has_the_ranges_of_a_chat_body(document: Json) -> None:
    body = document["components"]["schemas"]["ChatBody"]
    assert body["required"] == ["model", "messages"]
    assert set(body["properties"]) == set(ChatBody.model_fields)
    ranges = {
        name: {
            bound: option[bound]
            for option in schema.get("anyOf", [schema])
            for bound in ("minimum", "maximum")
            if bound in option
        }
        for name, schema in body["properties"].items()
    }
    assert ranges["temperature"] == {"minimum": 0, "maximum": 2}
    assert ranges["top_p"] == {"minimum": 0, "maximum": 1}
    assert ranges["presence_penalty"] == {"minimum": -2, "maximum": 2}
    assert ranges["top_logprobs"] == {"minimum": 0, "maximum": 20}
    assert ranges["max_tokens"] == {"minimum": 1}
    assert all(schema["description"] for schema in body["properties"].values())
    assert document["components"]["schemas"]["RouteBody"]["required"] == ["model"]

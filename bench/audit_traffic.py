"""Simulated traffic as a stack would have left it: real records, signed by certified keys.

What a gateway does with a request is simulated; how a record is made, signed, certified, stored
and closed is the gateway's own code. Law: without plants there is nothing to be found.
"""

import hashlib
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench.audit_plan import LAPSING_PROVIDER, Call, SetClock, Traffic, Written
from phigate.core.attributes import number
from phigate.core.catalog.check import checked_catalog
from phigate.core.ledger import writes as account_writes
from phigate.core.ledger.cost import cost, total
from phigate.core.ledger.hold import StoredHold
from phigate.core.receipts.days import DAY_S
from phigate.core.receipts.ids import new_id
from phigate.core.receipts.members import record
from phigate.core.receipts.port import SigningKey
from phigate.core.receipts.record import (
    RECEIPT_ALG,
    RECEIPT_TYP,
    Charge,
    Facts,
    Signed,
    hash_text,
)
from phigate.core.types import Agreement, Attempt, Catalog, Json, Row, Usage
from phigate.effects.signing.receipt_signer import EphemeralKeySigner
from phigate.pipeline.charge.receipt import sign_record
from phigate.wire.jws import signing_input

TABLE = "phigate"
HELD_MICROS = 50_000_000
CALL_S = 4  # from a request to its receipt
REFUSALS = ("no_route", "phi_blocked", "insufficient_credit", "invalid_request")

Item = dict[str, Any]


class Simulation:
    """Makes the items of an account, in order of their days."""

    def __init__(
        self,
        traffic: Traffic,
        snapshots: Sequence[bytes],
        signer: EphemeralKeySigner,
        clock: SetClock,
    ) -> None:
        self.traffic = traffic
        self.written = Written()
        self._catalogs = [checked_catalog(snapshot) for snapshot in snapshots]
        self._signer = signer
        self._clock = clock
        self._random = random.Random(traffic.seed)
        self._forger = Ed25519PrivateKey.generate()

    async def items(self) -> AsyncIterator[Item]:
        """Every item, as the gateway would put it."""
        for day in range(self.traffic.days):
            for call in self._calls(day):
                self._clock.time_s = call.time_s + CALL_S
                key = await self._signer.key(self._clock.time_s)
                for item in self._made(call, key):
                    self.written.charged_micros += int(item["c"]["N"])
                    yield item

    def _calls(self, day: int) -> Iterator[Call]:
        """The calls of a day. A number is taken after the id is made, so around midnight the
        numbers of two days interleave."""
        traffic, per_day = self.traffic, self.traffic.per_day
        numbers = list(range(day * per_day + 1, (day + 1) * per_day + 1))
        if day > 0 and numbers:
            numbers[0] -= 1
        if day < traffic.days - 1 and numbers:
            numbers[-1] += 1
        for place, seq in enumerate(numbers):
            time_s = traffic.first_s + day * DAY_S + place * (DAY_S - CALL_S) // per_day
            yield Call(new_id(time_s, self._random.randbytes(7)), seq, time_s, day)

    def _made(self, call: Call, key: SigningKey) -> Iterator[Item]:
        plant = self.traffic.plant_of(call.day, call.seq)
        if plant is not None:
            yield from self._planted(call, key, plant)
            return
        chance = self._random.random()
        hold = StoredHold(call.id, call.seq, HELD_MICROS, call.time_s + 960)
        account = self.traffic.account
        if chance < 0.01:
            noted = replace(hold, used_micros=self._random.choice((0, 0, 1_200)))
            yield account_writes.tombstone(TABLE, account, noted)["Item"]
        elif chance < 0.012:
            yield account_writes.stray(TABLE, account, hold)["Item"]
        elif chance < 0.06:
            yield self._stored(call, sign_record(self._refusal(call), key), 0)
        else:
            facts = self._answer(call, phi=self._random.random() < 0.5)
            micros = 0 if facts.charge is None else facts.charge.charged_micros
            item = self._stored(call, sign_record(facts, key), micros)
            if chance < 0.065:
                # The sweeper was first: the record took a tombstone's place.
                item |= {"st": {"S": "late"}, "p": number(0)}
            yield item

    def _stored(self, call: Call, record_signed: Signed, micros: int) -> Item:
        hold = StoredHold(call.id, call.seq, HELD_MICROS, call.time_s + 960)
        item: Item = account_writes.receipt(
            TABLE, self.traffic.account, hold, micros, record_signed
        )["Item"]
        return item

    def _catalog(self, call: Call) -> Catalog:
        return self._catalogs[call.day >= self.traffic.renewed_on]

    def _facts(self, call: Call, region: str, *, phi: bool) -> Facts:
        catalog = self._catalog(call)
        return Facts(
            id=call.id,
            account=self.traffic.account,
            key_id="key-1",
            seq=call.seq,
            time_s=call.time_s,
            signed_at_s=call.time_s + CALL_S,
            stack="local",
            region=region,
            phi=phi,
            verdict="routed",
            rejections=(),
            attempts=(),
            catalog_sha256=catalog.sha256,
            card_sha256=catalog.card_sha256,
            request_sha256=hashlib.sha256(call.id.encode()).hexdigest(),
            response_sha256=hashlib.sha256(call.id[::-1].encode()).hexdigest(),
            ended="complete",
        )

    def _refusal(self, call: Call) -> Facts:
        phi = self._random.random() < 0.5
        facts = self._facts(call, self._random.choice(("CH", "EU", "US")), phi=phi)
        return replace(facts, verdict=self._random.choice(REFUSALS), ended="refused")

    def _answer(self, call: Call, *, phi: bool) -> Facts:
        region, row = self._random.choice(self._offers(call, phi=phi))
        rows = [row]
        if self._random.random() < 0.05:
            rows.append(
                self._random.choice([r for g, r in self._offers(call, phi=phi) if g == region])
            )
        attempts = [Attempt(r.id, region, "ok", 900, 100 + 1_000 * n) for n, r in enumerate(rows)]
        turns = [(r, self._usage()) for r in rows]
        if len(rows) > 1 and self._random.random() < 0.5:
            # A failover instead of a second turn.
            attempts[0] = replace(attempts[0], outcome="http_500")
            turns = turns[1:]
        return replace(
            self._facts(call, region, phi=phi),
            attempts=attempts,
            row=rows[-1],
            charge=self._charge(turns),
            agreements=_agreements(rows),
        )

    def _offers(self, call: Call, *, phi: bool) -> list[tuple[str, Row]]:
        """The regions and rows that the gate would let pass."""
        return [
            (region, row)
            for row in self._catalog(call).rows
            for region, place in row.places.items()
            if row.status == "live"
            and (not phi or _may_see_phi(row, region, place.residency, call))
        ]

    def _usage(self) -> Usage:
        tokens_in, tokens_out = self._random.randrange(20, 4_000), self._random.randrange(1, 900)
        return Usage(tokens_in, tokens_out, self._random.choice((0, tokens_in // 2)))

    def _charge(self, turns: Sequence[tuple[Row, Usage]]) -> Charge:
        computed = cost((row.price, usage) for row, usage in turns)
        # Now and then an answer costs more than was held.
        held = computed * 2 if self._random.random() > 0.01 else computed // 2
        return Charge(
            usage=total(usage for _, usage in turns),
            usage_is_estimate=held < computed,
            bytes_in=4_000,
            bytes_out=900,
            computed_micros=computed,
            charged_micros=min(computed, held),
            held_micros=held,
            turns=tuple(turns),
        )

    def _planted(self, call: Call, key: SigningKey, plant: str) -> Iterator[Item]:
        subject = f"number {call.seq}" if plant == "gap" else call.id
        self.written.planted[plant] = (subject, plant)
        if plant == "gap":
            return
        facts = self._answer(call, phi=False)
        if plant == "agreement":
            facts = self._unagreed(call)
        micros = 0 if facts.charge is None else facts.charge.charged_micros
        members = record(facts)
        if plant == "region":
            members |= {"region_served": "US" if facts.region != "US" else "EU"}
        made = _signed(members, key)
        if plant == "signature":
            message = signing_input(
                alg=RECEIPT_ALG, typ=RECEIPT_TYP, kid=key.kid, payload=made.payload
            )
            made = replace(made, signature=self._forger.sign(message))
        yield self._stored(call, made, micros + (1_000 if plant == "cost" else 0))

    def _unagreed(self, call: Call) -> Facts:
        """PHI at a row whose agreement has ended."""
        rows = [row for row in self._catalog(call).rows if row.provider == LAPSING_PROVIDER]
        row = rows[0]
        region = next(iter(row.places))
        return replace(
            self._facts(call, region, phi=True),
            attempts=[Attempt(row.id, region, "ok", 900, 100)],
            row=row,
            charge=self._charge([(row, self._usage())]),
            agreements=_agreements(rows[:1]),
        )


def _signed(members: Json, key: SigningKey) -> Signed:
    """A record that no gateway would make, signed as if one had."""
    payload = orjson.dumps(members, option=orjson.OPT_SORT_KEYS)
    message = signing_input(alg=RECEIPT_ALG, typ=RECEIPT_TYP, kid=key.kid, payload=payload)
    text = hash_text(members["request_sha256"], members["response_sha256"])
    text_signature = key.sign(text.encode()) if members["phi"] is False else b""
    return Signed(payload, key.kid, key.sign(message), text_signature)


def _agreements(rows: Sequence[Row]) -> dict[str, Agreement]:
    return {row.id: row.agreement for row in rows if row.agreement is not None}


def _may_see_phi(row: Row, region: str, residency: str, call: Call) -> bool:
    agreement = row.agreement
    return (
        agreement is not None
        and region in agreement.regions
        and residency != "unproven"
        and agreement.effective_at_s <= call.time_s < agreement.expires_at_s - CALL_S
    )

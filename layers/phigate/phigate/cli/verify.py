"""`phigate verify`: checks one receipt, offline; `phigate nonce`: what opens the hashes of PHI.

Exit status of verify: 0 it holds, 1 a check fails, 3 nothing fails but no key set anchors it.
"""

import argparse
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

from phigate.cli import values
from phigate.cli.command import Command, CommandFailed, Environment, WrongUsage, remark
from phigate.cli.key_sets import roots_from
from phigate.cli.secret_input import STANDARD_INPUT, refused_flag, secret_flag, secret_in
from phigate.cli.tables import day, facts, moment, plain
from phigate.core.ledger.keys import parse_key
from phigate.core.receipts.record import nonce
from phigate.core.types import Json
from phigate.verify.errors import VerificationError
from phigate.verify.receipt import Bundle, Check, Evidence, Outcome, Verified, read_bundle, verify

NOT_ANCHORED = 3
_NONCE = re.compile(r"[0-9a-fA-F]{64}")
_KEY_VARIABLE = "OPENAI_API_KEY"
_SHOWN: dict[Outcome, str] = {"holds": "ok", "fails": "FAIL", "open": "open"}


def _flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "receipt",
        metavar="RECEIPT",
        help="a receipt as GET /v1/receipts/{id} gives it (JSON or JWS), in a file; - reads stdin",
    )
    parser.add_argument(
        "--jwks", metavar="URL|FILE", help="the stack's key set: its /.well-known/jwks.json"
    )
    for name, what in (
        ("certificate", "the certificate of the receipt's key, where RECEIPT is a bare JWS"),
        ("request", "the body that was sent, byte by byte"),
        ("response", "the body that came back, of a stream every byte"),
        ("card", "the price card: what GET /v1/pricing?card=HASH answers"),
        ("upstream", "a confidential provider's signature (default: the one beside the receipt)"),
        ("attestation", "its attestation report: GET /v1/attestation/report"),
    ):
        parser.add_argument(f"--{name}", type=Path, metavar="FILE", help=what)
    secret_flag(parser, "nonce", "what opens the hashes of a PHI call (phigate nonce prints it)")
    refused_flag(parser, "nonce")
    parser.add_argument("--json", action="store_true", help="print the checks as JSON")


def _verify(flags: argparse.Namespace, environ: Environment) -> int:
    if flags.receipt == flags.nonce_file == STANDARD_INPUT:
        raise WrongUsage("standard input holds either the receipt or the nonce")
    nonce_given = _nonce_in(flags.nonce_file)
    bundle = _bundle(flags)
    evidence = Evidence(
        roots=None if flags.jwks is None else roots_from(flags.jwks),
        request=_bytes_of(flags.request),
        response=_bytes_of(flags.response),
        nonce=nonce_given,
        card=_bytes_of(flags.card),
        upstream=_bytes_of(flags.upstream),
        attestation=_bytes_of(flags.attestation),
    )
    verified = verify(bundle, evidence)
    print(json.dumps(_json(verified)) if flags.json else _page(verified))
    if verified.fails:
        remark("the receipt does not hold")
        return 1
    if not verified.is_anchored:
        remark("nothing fails, but no key set says whose receipt it is: give --jwks")
        return NOT_ANCHORED
    return 0


def _bundle(flags: argparse.Namespace) -> Bundle:
    try:
        content = (
            sys.stdin.buffer.read()
            if flags.receipt == STANDARD_INPUT
            else Path(flags.receipt).read_bytes()
        )
        bundle = read_bundle(content)
    except VerificationError as exc:
        raise CommandFailed(f"{flags.receipt}: {exc}") from exc
    if flags.certificate is not None:
        certificate = flags.certificate.read_text("utf-8", "replace").strip()
        return replace(bundle, certificate=certificate)
    return bundle


def _nonce_in(name: str | None) -> bytes | None:
    if name is None:
        return None
    text = secret_in(name)
    if _NONCE.fullmatch(text) is None:
        raise CommandFailed("--nonce-file holds no 64 hex digits, as phigate nonce prints them")
    return bytes.fromhex(text)


def _bytes_of(path: Path | None) -> bytes | None:
    return None if path is None else path.read_bytes()


def _json(verified: Verified) -> Json:
    return {
        "holds": not verified.fails,
        "anchored": verified.is_anchored,
        "checks": [
            {"check": c.name, "outcome": c.outcome, "message": c.message} for c in verified.checks
        ],
        "record": verified.record,
    }


def _page(verified: Verified) -> str:
    checks = "\n".join(_line(check) for check in verified.checks)
    if verified.record is None:
        return checks
    return f"{facts(_told(verified.record))}\n\n{checks}"


def _line(check: Check) -> str:
    return f"{_SHOWN[check.outcome]:<4}  {check.name:<11}  {plain(check.message)}"


def _told(record: Json) -> list[tuple[str, str]]:
    """What the receipt says, whether it holds or not."""
    told = [
        ("receipt", f"{record['id']} of stack {record['stack']}"),
        ("account", f"{record['account']}, key {record['key']}, number {record['seq']}"),
        ("time", moment(record["time"])),
    ]
    if "row" in record:
        residency = f"residency by {record['residency']}"
        tier = record["tier"]
        told.append(
            ("served", f"{record['row']} in {record['region_served']} as {tier}, {residency}")
        )
        told.append(("agreement", _agreement(record)))
    else:
        told.append(("refused", f"{record['verdict']} in {record['region_asked'] or 'no region'}"))
    for row, host in sorted(record.get("overrides", {}).items()):
        told.append(("override", f"{row} was tried at {host}, where no agreement is in force"))
    if "simulated" in record:
        told.append(("simulated", f"{', '.join(record['simulated'])}: played by the stack itself"))
    if "cost" in record:
        source = record["usage"]["source"]
        told.append(("charged", f"{record['cost']['charged']} micro-USD, usage {source}"))
    told.append(("ended", record["ended"]))
    return told


def _agreement(record: Json) -> str:
    named = record.get("agreements", {}).get(record["row"])
    if named is None:
        return "none"
    agreement_id, law, effective_s, expires_s = named
    return f"{agreement_id} ({law}), in force from {day(effective_s)} to {day(expires_s)}"


def _nonce_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("receipt_id", type=values.receipt_id, metavar="ID", help="the receipt's id")


def _nonce(flags: argparse.Namespace, environ: Environment) -> int:
    """The key comes from the environment or standard input: a command line is seen by others."""
    text = environ.get(_KEY_VARIABLE) or secret_in(STANDARD_INPUT)
    if parse_key(text) is None:
        raise CommandFailed(f"{_KEY_VARIABLE} (or standard input) holds no key of this gateway")
    print(nonce(text, flags.receipt_id).hex())
    return 0


COMMANDS = (
    Command(
        words="verify",
        summary="Check a receipt offline: whose it is, that nothing was changed, what it cost.",
        example="phigate verify receipt.json --jwks jwks.json --request sent --response got",
        flags=_flags,
        run=_verify,
    ),
    Command(
        words="nonce",
        summary="Print what opens the hashes of a PHI call: HMAC(key, id), the key from "
        "OPENAI_API_KEY or standard input. Whoever has it can check guesses of that one call.",
        example="phigate nonce AGsBXlcYrhHYYCaP",
        flags=_nonce_flags,
        run=_nonce,
    ),
)

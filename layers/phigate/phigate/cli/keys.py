"""`phigate keys`: API keys, shown once.

Law: a new key stands alone on standard output, and an old one in no message.
"""

import argparse
import re
from typing import get_args

from phigate.cli import values
from phigate.cli.command import Command, CommandFailed, Environment, Run, WrongUsage, remark
from phigate.cli.secret_input import secret_flag, secret_in
from phigate.cli.store import Store, Work, on_store, place_flags
from phigate.cli.tables import amount, columns, day, usd
from phigate.core.errors import Overloaded
from phigate.core.ledger.keys import KeyKind, key_id_of, key_sha256, parse_key
from phigate.core.limits import RPM_DEFAULT
from phigate.core.types import ConfidentialPolicy, KeyPolicy, PhiPolicy
from phigate.effects.clock import WallClock
from phigate.effects.store.keys import KeyView

_KEY_ID = re.compile(r"[0-9a-f]{12}")
_HEADINGS = ("ID", "ACCOUNT", "KIND", "STATE", "CREATED", "EXPIRES", "POLICY")


def _create_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--account", type=values.account, required=True, metavar="A", help="made if missing")
    add("--credit-usd", type=values.usd, default=0, metavar="X", help="credit to add, such as 1.00")
    add("--region", type=values.region, help="where calls without X-Region go")
    add("--regions", type=values.regions, metavar="CH,EU", help="the only regions it may use")
    add("--phi", choices=get_args(PhiPolicy), default="allowed", help="health data (allowed)")
    required = get_args(ConfidentialPolicy)
    add("--confidential", choices=required, help="rows in an enclave only, for every call")
    add("--models", type=values.models, metavar="A,B", help="the only models it may use")
    add("--model-tier", type=values.model_tier, metavar="T", help="fast, baseline or thinking")
    add("--rpm", type=values.count, default=RPM_DEFAULT, metavar="N", help="calls a minute (600)")
    add("--spend-limit-usd", type=values.usd, metavar="X", help="the most it may spend in a day")
    add("--expires", type=values.day, metavar="YYYY-MM-DD", help="stops at 00:00 UTC of that day")
    add("--debug-phi", action="store_true", help="may ask for debug output of PHI calls")
    add("--live", action="store_true", help="a phi_live_ key (default: phi_test_)")
    place_flags(parser)


def _policy(flags: argparse.Namespace) -> KeyPolicy:
    if flags.regions is not None and flags.region is not None and flags.region not in flags.regions:
        raise WrongUsage(f"--region {flags.region} is not among --regions")
    return KeyPolicy(
        phi=flags.phi,
        regions=flags.regions,
        models=flags.models,
        rpm=flags.rpm,
        spend_limit_micros=flags.spend_limit_usd,
        debug_phi=flags.debug_phi,
        default_region=flags.region,
        default_model_tier=flags.model_tier,
        confidential=flags.confidential,
    )


def _create(flags: argparse.Namespace, environ: Environment) -> int:
    policy = _policy(flags)
    if flags.expires is not None and flags.expires <= WallClock().now_s():
        raise CommandFailed(
            f"--expires {day(flags.expires)}: 00:00 UTC of that day is past; the key would not work"
        )

    async def work(store: Store, flags: argparse.Namespace) -> int:
        return await _made(store, flags, policy)

    return on_store(work, makes_state=True)(flags, environ)


async def _made(store: Store, flags: argparse.Namespace, policy: KeyPolicy) -> int:
    if await store.admin.create_account(flags.account):
        remark(f"made the account {flags.account}")
    kind: KeyKind = "live" if flags.live else "test"
    key = await store.admin.create_key(flags.account, kind, policy, expires_at_s=flags.expires)
    print(key)
    key_id = key_id_of(key_sha256(key))
    remark(f"key {key_id} of {flags.account}; it is shown this once")
    if flags.credit_usd:
        await _credit(store, flags.account, flags.credit_usd, f"key {key_id}")
    return 0


async def _credit(store: Store, account: str, micros: int, ref: str) -> None:
    """The reference is the key's own, so whoever sends it again credits nothing twice."""
    try:
        await store.admin.add_credit(account, micros, ref)
    except Overloaded as exc:
        again = f"phigate credit add --account {account} --usd {usd(micros)} --ref '{ref}'"
        raise CommandFailed(f"the key works, its credit is not confirmed; run {again}") from exc
    remark(f"credited {amount(micros)} to {account}, reference {ref}")


def _list_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--account", type=values.account, metavar="A", help="(default: all)")
    place_flags(parser)


async def _list(store: Store, flags: argparse.Namespace) -> int:
    accounts = [flags.account] if flags.account else await store.ledger.accounts()
    now_s = store.clock.now_s()
    rows = [
        _line(view, now_s) for account in accounts for view in await store.admin.list_keys(account)
    ]
    print(columns(_HEADINGS, rows))
    return 0


def _line(view: KeyView, now_s: float) -> tuple[str, ...]:
    expires = "never" if view.expires_at_s is None else day(view.expires_at_s)
    created, policy = day(view.created_at_s), _policy_text(view.policy)
    return (view.key_id, view.account, view.kind, _state(view, now_s), created, expires, policy)


def _state(view: KeyView, now_s: float) -> str:
    if not view.is_live:
        return "disabled"
    expired = view.expires_at_s is not None and view.expires_at_s <= now_s
    return "expired" if expired else "works"


def _policy_text(policy: KeyPolicy) -> str:
    """What the policy says, in the words of `keys create`."""
    said = [f"phi {policy.phi}", f"rpm {policy.rpm}"]
    if policy.default_region is not None:
        said.append(f"region {policy.default_region}")
    if policy.regions is not None:
        said.append(f"regions {','.join(sorted(policy.regions))}")
    if policy.models is not None:
        said.append(f"models {','.join(sorted(policy.models))}")
    if policy.confidential is not None:
        said.append(f"confidential {policy.confidential}")
    if policy.default_model_tier is not None:
        said.append(f"model-tier {policy.default_model_tier}")
    if policy.spend_limit_micros is not None:
        said.append(f"spend-limit-usd {usd(policy.spend_limit_micros)}")
    if policy.debug_phi:
        said.append("debug-phi")
    return "; ".join(said)


def _one_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", nargs="?", help="the key's id, as keys list shows it")
    secret_flag(parser, "key", "the whole key instead")
    parser.add_argument("--account", type=values.account, metavar="A", help="look here alone")
    place_flags(parser)


def _on_key(work: Work) -> Run:
    """A command's `run` on the key that is named by its id, or given in a file."""

    def run(flags: argparse.Namespace, environ: Environment) -> int:
        if (flags.id is None) == (flags.key_file is None):
            raise WrongUsage("name the key by its id, or give --key-file FILE")
        if flags.key_file is not None:
            parts = parse_key(secret_in(flags.key_file))
            if parts is None:
                raise CommandFailed("--key-file holds no key of this gateway")
            flags.id = parts.key_id
        return on_store(work)(flags, environ)

    return run


async def _find(store: Store, flags: argparse.Namespace) -> KeyView:
    key_id = flags.id
    if _KEY_ID.fullmatch(key_id) is None:
        raise CommandFailed("this is no key id; phigate keys list shows the ids")
    accounts = [flags.account] if flags.account else await store.ledger.accounts()
    view = await store.admin.find_key(key_id, accounts)
    if view is None:
        where = f" in account {flags.account}" if flags.account else ""
        raise CommandFailed(f"there is no key {key_id}{where}; phigate keys list shows the ids")
    return view


async def _disable(store: Store, flags: argparse.Namespace) -> int:
    view = await _find(store, flags)
    await store.admin.disable_key(view.account, view.key_id)
    again = "" if view.is_live else "; it was disabled before"
    print(f"disabled key {view.key_id} of {view.account}{again}")
    return 0


async def _rotate(store: Store, flags: argparse.Namespace) -> int:
    view = await _find(store, flags)
    state = _state(view, store.clock.now_s())
    if state != "works":
        raise CommandFailed(
            f"key {view.key_id} is {state}; make a new one with phigate keys create"
        )
    key = await store.admin.rotate_key(view.account, view.key_id)
    print(key)
    new_id = key_id_of(key_sha256(key))
    remark(f"key {new_id} of {view.account} replaces {view.key_id}, which is disabled")
    return 0


COMMANDS = (
    Command(
        words="keys create",
        summary="Make a key and print it, alone, on standard output. It is shown this once.",
        example="phigate keys create --account clinic --credit-usd 1.00 --region CH --phi required",
        flags=_create_flags,
        run=_create,
    ),
    Command(
        words="keys list",
        summary="List keys by their ids, with what they may do.",
        example="phigate keys list --account clinic",
        flags=_list_flags,
        run=on_store(_list),
    ),
    Command(
        words="keys disable",
        summary="Stop a key. No new call can hold credit with it from now on.",
        example="phigate keys disable 3f9a0c1b2d4e --account clinic",
        flags=_one_flags,
        run=_on_key(_disable),
    ),
    Command(
        words="keys rotate",
        summary="Replace a key by a new one with the same policy and expiry, printed alone.",
        example="phigate keys rotate 3f9a0c1b2d4e",
        flags=_one_flags,
        run=_on_key(_rotate),
    ),
)

"""DynamoDB's typed JSON, as far as the ledger uses it: integers, text, booleans, bytes, maps."""

import base64
import zlib
from collections.abc import Mapping
from typing import Any

Item = dict[str, Any]

INFLATED_BYTES_MAX = 64 * 1024  # a record has 1 to 3 KB; what claims more is not one of ours


def number(value: int) -> Item:
    """An integer, at most 38 digits."""
    return {"N": str(value)}


def text(value: str) -> Item:
    """A string."""
    return {"S": value}


def flag(value: bool) -> Item:
    """A boolean."""
    return {"BOOL": value}


def binary(value: bytes) -> Item:
    """Bytes; the wire carries them as base64."""
    return {"B": base64.b64encode(value).decode("ascii")}


def mapping(members: Mapping[str, Item]) -> Item:
    """A map of typed members."""
    return {"M": dict(members)}


def int_at(item: Mapping[str, Any], name: str, missing: int = 0) -> int:
    """The integer under a name; `missing` where there is none."""
    found = item.get(name)
    return missing if found is None else int(found["N"])


def text_at(item: Mapping[str, Any], name: str) -> str | None:
    """The string under a name."""
    found = item.get(name)
    return None if found is None else str(found["S"])


def flag_at(item: Mapping[str, Any], name: str) -> bool:
    """Whether the boolean under a name is there and true."""
    return item.get(name) == {"BOOL": True}


def bytes_at(item: Mapping[str, Any], name: str) -> bytes:
    """The bytes under a name; none where there are none."""
    found = item.get(name)
    return b"" if found is None else base64.b64decode(found["B"])


def map_at(item: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """The map under a name; empty where there is none."""
    found = item.get(name)
    return {} if found is None else found["M"]


def deflate(record: bytes, dictionary: bytes = b"") -> bytes:
    """Raw deflate, for binary members: a record of 1 to 3 KB comes to less than half.

    A window of 4 KB holds a record as well as one of 32 KB, and costs 19 microseconds, not 83.
    """
    packer = zlib.compressobj(level=6, wbits=-12, memLevel=6, zdict=dictionary)
    return packer.compress(record) + packer.flush()


def inflate(packed: bytes, dictionary: bytes = b"") -> bytes:
    """The bytes again; nothing where there is none, or where somebody has changed them."""
    if not packed:
        return b""
    unpacker = zlib.decompressobj(wbits=-zlib.MAX_WBITS, zdict=dictionary)
    try:
        unpacked = unpacker.decompress(packed, INFLATED_BYTES_MAX)
    except zlib.error:
        return b""
    # Behind its end anything could be kept, which no signature covers.
    return unpacked if unpacker.eof and not unpacker.unused_data else b""

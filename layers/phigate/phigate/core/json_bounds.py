"""How much structure JSON has, seen in its bytes before anything is built of it."""

from phigate.core.limits import ANSWER_COMMAS_MAX, ANSWER_CONTAINERS_MAX

_STRUCTURE = b'"[]{},'
_NO_STRUCTURE = bytes(set(range(256)) - set(_STRUCTURE))


def is_too_much(body: bytes) -> bool:
    """More objects and arrays, or members and items, than an answer has."""
    containers, commas = _counts(body)
    if containers <= ANSWER_CONTAINERS_MAX and commas <= ANSWER_COMMAS_MAX:
        return False
    # Letters of texts were counted too, which is quicker and nearly always enough.
    containers, commas = _counts(structure(body))
    return containers > ANSWER_CONTAINERS_MAX or commas > ANSWER_COMMAS_MAX


def structure(body: bytes) -> bytes:
    """Its brackets and commas outside texts. Without escapes every quote opens or closes one."""
    plain = body
    if b"\\" in body:
        plain = body.replace(rb"\\", b"").replace(rb"\"", b"")
    quoted = plain.translate(None, _NO_STRUCTURE)
    return b"".join(quoted.replace(b'""', b"").split(b'"')[::2])


def depth(body: bytes, bytes_max: int) -> int:
    """How deep it nests, as far as so many brackets tell."""
    deep = deepest = 0
    for bracket in structure(body).replace(b",", b"")[:bytes_max]:
        deep += 1 if bracket in b"[{" else -1
        deepest = max(deepest, deep)
    return deepest


def _counts(body: bytes) -> tuple[int, int]:
    return body.count(b"{") + body.count(b"["), body.count(b",")

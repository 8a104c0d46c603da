"""How an audit's report looks: one page for a person, or JSON with the same members."""

from collections.abc import Iterable, Mapping

from phigate.cli.tables import amount, columns, day, facts
from phigate.core.receipts.days import day_at
from phigate.core.types import Json
from phigate.verify.audit import Report
from phigate.verify.roots import PURPOSES

FINDINGS_SHOWN_MAX = 40
IDS_SHOWN_MAX = 5

UNSAVED = (
    "no saved digests were given: a day that the holder of the root signed anew would not be seen"
)
FORGEABLE = "whoever can write the table can make such a receipt, or put it in another's place"
UNSIGNED = (
    "a tombstone is not signed: that the call crashed, and that no receipt was there before the "
    "day was closed and its digest saved, is not proven"
)


def page(report: Report, anchor: str) -> str:
    """The report for a person. `anchor` says where the roots come from."""
    parts = [
        facts(_summary(report, anchor)),
        _answers(report),
        _agreements(report),
        _findings(report),
    ]
    return "\n\n".join(part for part in parts if part)


def as_json(report: Report, anchor: str) -> Json:
    """The report as JSON members; amounts in micro-USD."""
    question = report.question
    return {
        "account": question.account,
        "from": question.first_day,
        "to": question.last_day,
        "stacks": list(report.stacks),
        **_counted_json(report),
        "uncertified": {
            "count": report.uncertified,
            "accepted_max": question.uncertified_max,
            "ids": list(report.uncertified_ids),
        },
        "overrides": [
            {"host": host, "tier": tier, "receipts": count}
            for (host, tier), count in sorted(report.overrides.items())
        ],
        "overrides_allowed": sorted(question.overrides_allowed),
        "simulated": report.simulated,
        "digests": {
            "days_closed": report.days_closed,
            "days_open": list(report.days_open),
            "saved": len(question.saved),
        },
        "roots": {
            "from": anchor,
            "keys": [{"kid": root.kid, "signs": root.signs} for root in question.roots.values()],
        },
        "findings": _findings_json(report),
    }


def _counted_json(report: Report) -> Json:
    """What stands in the period."""
    listed = report.tombstones_listed
    return {
        "receipts": report.receipts,
        "tombstones": report.tombstones,
        "tombstones_max": report.question.tombstones_max,
        "tombstones_listed": [{"day": on_day, "id": name} for on_day, name in listed],
        "phi": report.phi,
        "numbers": None if report.numbers is None else list(report.numbers),
        "charged_micro": report.charged_micros,
        "answers": [
            {"row": row, "region": region, "count": count}
            for (row, region), count in sorted(report.answers.items())
        ],
        "refusals": dict(report.refusals),
        "agreements": [
            {
                "id": agreement_id,
                "law": law,
                "effective": day(effective_s),
                "expires": day(expires_s),
                "attempts": count,
            }
            for (agreement_id, law, effective_s, expires_s), count in sorted(
                report.agreements.items()
            )
        ],
        "catalogs": list(report.catalogs),
    }


def _findings_json(report: Report) -> Json:
    return {
        "total": report.findings,
        "by_rule": dict(report.found_by_rule),
        "listed": [
            {"subject": found.subject, "rule": found.rule, "sentence": found.sentence}
            for found in report.found
        ],
    }


def _summary(report: Report, anchor: str) -> Iterable[tuple[str, str]]:
    question = report.question
    yield "account", question.account
    yield "period", f"{question.first_day} to {question.last_day} (UTC days, both included)"
    yield "audited", day_at(question.now_s)
    yield "stack", ", ".join(report.stacks) or "none: no receipt stands in the period"
    yield "receipts", f"{report.receipts}, {report.phi} of them PHI"
    yield "tombstones", _tombstones(report)
    if report.numbers is not None:
        yield "numbers", f"{report.numbers[0]} to {report.numbers[1]}"
    yield "charged", amount(report.charged_micros)
    yield "refusals", _counted(report.refusals) or "none"
    yield "uncertified", _uncertified(report)
    yield "overrides", _overrides(report)
    yield "simulated", f"{report.simulated} receipts" if report.simulated else "none"
    yield "digests", _digests(report)
    yield "saved", f"{len(question.saved)} compared" if question.saved else UNSAVED
    yield "catalogs", ", ".join(sha256[:16] for sha256 in report.catalogs) or "none"
    yield "roots", f"from {anchor}"
    for purpose in PURPOSES:
        kids = [root.kid for root in question.roots.values() if root.signs == purpose]
        if kids:
            yield "", f"{purpose}: {', '.join(kids)}"


def _tombstones(report: Report) -> str:
    if not report.tombstones:
        return "none"
    named = [f"{receipt_id} of {on_day}" for on_day, receipt_id in report.tombstones_listed]
    most = report.question.tombstones_max
    limit = "with no limit (--max-tombstones)" if most is None else f"at most {most} accepted"
    told = f"{report.tombstones} calls without a receipt, {limit}"
    return f"{told}: {_cut(named, report.tombstones)}; {UNSIGNED}"


def _uncertified(report: Report) -> str:
    if not report.uncertified:
        return "none"
    named = _cut(report.uncertified_ids, report.uncertified)
    accepted = f"up to {report.question.uncertified_max} accepted"
    return f"{report.uncertified}, {accepted}: {named}; {FORGEABLE}"


def _overrides(report: Report) -> str:
    """Where other addresses than providers' own were tried, and what went there."""
    told = [f"{count} {tier} at {host}" for (host, tier), count in sorted(report.overrides.items())]
    return ", ".join(told) or "none"


def _digests(report: Report) -> str:
    closed = f"{report.days_closed} days closed"
    if not report.days_open:
        return closed
    return f"{closed}, {len(report.days_open)} open: {_cut(report.days_open, None)}"


def _cut(names: Iterable[str], total: int | None) -> str:
    """The first of them, and whether there are more."""
    listed = list(names)
    more = (len(listed) if total is None else total) - IDS_SHOWN_MAX
    shown = ", ".join(listed[:IDS_SHOWN_MAX])
    return f"{shown} and {more} more" if more > 0 else shown


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def _answers(report: Report) -> str:
    if not report.answers:
        return ""
    rows = [(row, region, str(count)) for (row, region), count in sorted(report.answers.items())]
    return columns(("ROW", "REGION", "ANSWERS"), rows, right=frozenset({"ANSWERS"}))


def _agreements(report: Report) -> str:
    if not report.agreements:
        return ""
    rows = [
        (agreement_id, law, day(effective_s), day(expires_s), str(count))
        for (agreement_id, law, effective_s, expires_s), count in sorted(report.agreements.items())
    ]
    headings = ("AGREEMENT UNDER PHI", "LAW", "EFFECTIVE", "EXPIRES", "RECEIPTS")
    return columns(headings, rows, right=frozenset({"RECEIPTS"}))


def _findings(report: Report) -> str:
    if not report.findings:
        return "0 findings: everything that was read holds"
    shown = report.found[:FINDINGS_SHOWN_MAX]
    table = columns(
        ("SUBJECT", "RULE", "FINDING"),
        [(found.subject, found.rule, found.sentence) for found in shown],
    )
    more = report.findings - len(shown)
    rest = f"\nand {more} more" if more else ""
    return f"{report.findings} findings ({_counted(report.found_by_rule)})\n{table}{rest}"

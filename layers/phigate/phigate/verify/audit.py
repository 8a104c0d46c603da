"""The audit of a period: every item is held against every rule, and what does not hold is found.

Values go in day by day, a report comes out; what it keeps grows with the days and the findings,
not with the receipts. Law: what is read is judged, and never ends the audit.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from phigate.core.catalog.overrides import without_port
from phigate.core.limits import DAY_IS_MISSED_AFTER_S, FINDINGS_KEPT_MAX, RECEIPT_DAYS
from phigate.core.receipts.days import DAY_S, begins_at_s, day_at, next_day
from phigate.core.types import Catalog, Json
from phigate.verify.against_catalog import mismatches, names_no_catalog
from phigate.verify.chain import Closed, Items, chain_faults, digest_faults, saved_faults
from phigate.verify.consistency import Violation
from phigate.verify.day import Leaf, receipt_leaf, tombstone_leaf
from phigate.verify.open_hold import StandingHold, why_implausible
from phigate.verify.roots import Roots
from phigate.verify.sequence import Numbers
from phigate.verify.stored_receipt import Entry, ReceiptKey, Unproven, faults, is_uncertified


@dataclass(frozen=True, slots=True)
class AuditScope:
    """What is audited, and what the answer stands on.

    `last_number` and `open_holds` are the account's counter and its holds, read before anything
    else: what was given out later may still be under way. `saved` are digests kept elsewhere, each
    with the place where it was. `uncertified_max` is how many general receipts the operator accepts
    whose key nobody vouches for, `tombstones_max` how many tombstones; None: any.
    `overrides_allowed` are hosts at which PHI is accepted although no agreement covers them.
    """

    account: str
    first_day: str
    last_day: str
    now_s: float
    roots: Roots
    last_number: int
    open_holds: Sequence[StandingHold]
    closed: Sequence[Closed]
    saved: Sequence[tuple[str, str]] = ()
    uncertified_max: int = 0
    tombstones_max: int | None = None
    overrides_allowed: frozenset[str] = frozenset()
    spent_micros: int = 0
    created_s: int | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding: the receipt, day or number it is about, the rule, and a sentence."""

    subject: str
    rule: str
    sentence: str


@dataclass(frozen=True, slots=True)
class Report:
    """What came of it. `found` is cut at FINDINGS_KEPT_MAX, `found_by_rule` counts them all."""

    question: AuditScope
    found: Sequence[Finding]
    found_by_rule: Mapping[str, int]
    receipts: int
    tombstones: int
    tombstones_listed: Sequence[tuple[str, str]]  # day and id, cut at FINDINGS_KEPT_MAX
    phi: int
    charged_micros: int
    answers: Mapping[tuple[str, str], int]
    refusals: Mapping[str, int]
    agreements: Mapping[tuple[str, str, int, int], int]
    stacks: Sequence[str]
    catalogs: Sequence[str]
    numbers: tuple[int, int] | None
    days_closed: int
    days_open: Sequence[str]
    uncertified: int
    uncertified_ids: Sequence[str]
    overrides: Mapping[tuple[str, str], int]  # receipts by host and tier
    simulated: int

    @property
    def findings(self) -> int:
        """How many there are."""
        return sum(self.found_by_rule.values())


class Audit:
    """Takes the entries of every day of the period in order, `end_day` after each."""

    def __init__(self, question: AuditScope) -> None:
        self._question = question
        self._closed = {closed.day: closed for closed in question.closed}
        self._found: list[Finding] = []
        self._by_rule: Counter[str] = Counter()
        self._counts: Counter[str] = Counter()
        self._answers: Counter[tuple[str, str]] = Counter()
        self._refusals: Counter[str] = Counter()
        self._agreements: Counter[tuple[str, str, int, int]] = Counter()
        self._stacks: set[str] = set()
        self._catalogs: dict[str, str | None] = {}
        self._uncertified_ids: list[str] = []
        self._overrides: Counter[tuple[str, str]] = Counter()
        self._tombstones_listed: list[tuple[str, str]] = []
        self._numbers = Numbers()
        self._lasts = {c.day: c.digest.tally["last"] for c in question.closed if c.digest}
        self._days_open: list[str] = []
        self._entries: list[tuple[int, str]] = []
        self._leaves: list[Leaf] = []
        self._tombstones: dict[str, Leaf] = {}

    def entry(
        self,
        entry: Entry,
        day: str,
        key: ReceiptKey | Unproven | None,
        catalog: Catalog | Unproven | None,
    ) -> None:
        """One item of a day, with the certificate and the catalog that it names."""
        found = list(faults(entry, self._question.account, day, key))
        if entry.record is not None:
            found += self._against_catalog(entry.record, catalog)
            found += self._count_overrides(entry.record)
            self._count_record(entry.record)
            if is_uncertified(entry.record, key):
                found += self._count_uncertified(entry.id, entry.record)
        self._note(entry.id, found)
        if entry.seq is not None:
            self._entries.append((entry.seq, entry.id))
        self._count_stored(entry, day)

    def end_day(self, day: str) -> None:
        """Every item of the day was given."""
        self._end_numbers(day)
        closed = self._closed.get(day)
        if closed is not None:
            self._counts["days_closed"] += 1
            items = Items(self._leaves, self._tombstones)
            self._note(day, digest_faults(closed, self._question.account, items))
        elif self._entries:
            self._days_open.append(day)
            if self._question.now_s >= begins_at_s(day) + DAY_S + DAY_IS_MISSED_AFTER_S:
                self._note(day, [("digest", "the day should be closed, and has no digest")])
        self._entries, self._leaves, self._tombstones = [], [], {}

    def report(self, before: Iterable[int], after: Iterable[int]) -> Report:
        """The end. `before` and `after` are the numbers of the two days around the period: near
        midnight a number may stand in the neighbouring day."""
        question = self._question
        for day, sentence in chain_faults(question.closed, question.first_day, question.last_day):
            self._note(day, [("chain", sentence)])
        for place, sentence in saved_faults(
            question.saved, self._closed, question.account, question.roots
        ):
            self._note(place, [("saved", sentence)])
        for sha256, reason in self._catalogs.items():
            if reason is not None:
                self._note(sha256, [("catalog", f"receipts name this catalog: {reason}")])
        later = Numbers(after)
        self._note_gaps(Numbers(before), later)
        self._note(question.account, self._lost(later))
        most, count = question.tombstones_max, self._counts["tombstones"]
        if most is not None and count > most:
            self._note(question.account, [("tombstones", f"{count} stand, {most} are accepted")])
        numbers = self._numbers
        return Report(
            question=question,
            found=self._found,
            found_by_rule=dict(self._by_rule),
            receipts=self._counts["receipts"],
            tombstones=self._counts["tombstones"],
            tombstones_listed=sorted(self._tombstones_listed),
            phi=self._counts["phi"],
            charged_micros=self._counts["charged_micros"],
            answers=dict(self._answers),
            refusals=dict(self._refusals),
            agreements=dict(self._agreements),
            stacks=sorted(self._stacks),
            catalogs=sorted(self._catalogs),
            numbers=(numbers.first, numbers.last) if numbers else None,
            days_closed=self._counts["days_closed"],
            days_open=self._days_open,
            uncertified=self._counts["uncertified"],
            uncertified_ids=self._uncertified_ids,
            overrides=dict(self._overrides),
            simulated=self._counts["simulated"],
        )

    def _note(self, subject: str, found: Iterable[Violation]) -> None:
        """Findings about one thing; several by one rule are one."""
        by_rule: dict[str, list[str]] = {}
        for rule, sentence in found:
            by_rule.setdefault(rule, []).append(sentence)
        for rule, sentences in by_rule.items():
            self._by_rule[rule] += 1
            if len(self._found) < FINDINGS_KEPT_MAX:
                self._found.append(Finding(subject, rule, "; ".join(sentences)))

    def _against_catalog(
        self, record: Json, catalog: Catalog | Unproven | None
    ) -> Iterable[Violation]:
        if names_no_catalog(record):
            return [("catalog", "it names no catalog")]
        if isinstance(catalog, Catalog):
            self._catalogs[catalog.sha256] = None
            return mismatches(record, catalog)
        if record["catalog"] is not None:
            # One finding for all receipts that name it.
            reason = catalog.reason if catalog is not None else "it is not in the table"
            self._catalogs[record["catalog"]] = reason
        return ()

    def _count_stored(self, entry: Entry, day: str) -> None:
        stored = entry.stored
        if stored is None:
            return
        self._counts["charged_micros"] += stored.cost_micros
        if stored.signed is None:
            self._counts["tombstones"] += 1
            if len(self._tombstones_listed) < FINDINGS_KEPT_MAX:
                self._tombstones_listed.append((day, stored.id))
            self._leaves.append(tombstone_leaf(stored))
            return
        self._counts["receipts"] += 1
        if entry.record is not None:
            self._leaves.append(receipt_leaf(stored, entry.record))
        if stored.state == "late":
            self._tombstones[stored.id] = tombstone_leaf(stored)

    def _count_uncertified(self, receipt_id: str, record: Json) -> list[Violation]:
        """Its signature cannot be checked, so whoever writes the table can make one: none is good
        by itself. Of PHI none is accepted at all, which `faults` has said."""
        self._counts["uncertified"] += 1
        if len(self._uncertified_ids) < FINDINGS_KEPT_MAX:
            self._uncertified_ids.append(receipt_id)
        if record["phi"] is not False:
            return []
        self._counts["uncertified_general"] += 1
        most = self._question.uncertified_max
        if self._counts["uncertified_general"] <= most:
            return []
        sentence = "nobody vouches for its key, so that its signature proves nothing"
        return [("uncertified", f"{sentence}; {most} are accepted" if most else sentence)]

    def _count_overrides(self, record: Json) -> Iterator[Violation]:
        """PHI at an address that is not its provider's is a finding until the host is named."""
        self._counts["simulated"] += "simulated" in record
        for host in sorted(set(record.get("overrides", {}).values())):
            self._overrides[host, record["tier"] or "phi"] += 1
            allowed = self._question.overrides_allowed
            if record["phi"] is not False and allowed.isdisjoint({host, without_port(host)}):
                yield "override", f"PHI went to {host}, where no agreement is in force"

    def _count_record(self, record: Json) -> None:
        self._stacks.add(record["stack"])
        self._counts["phi"] += record["phi"] is True
        if "row" in record:
            self._answers[record["row"], record["region_served"]] += 1
        if record["ended"] == "refused":
            self._refusals[record["verdict"]] += 1
        if record["phi"] is not False:
            tried = {attempt[0] for attempt in record["attempts"]}
            agreements = record.get("agreements", {})
            for row in tried & agreements.keys():
                agreement_id, law, effective_s, expires_s = agreements[row]
                self._agreements[agreement_id, law, effective_s, expires_s] += 1

    def _end_numbers(self, day: str) -> None:
        doubled = self._numbers.add(seq for seq, _ in self._entries)
        for number in doubled:
            ids = sorted(entry_id for seq, entry_id in self._entries if seq == number)
            where = "" if len(ids) > 1 else " and on an earlier day"
            self._note(f"number {number}", [("doubled", f"it stands at {', '.join(ids)}{where}")])
        highest = max((seq for seq, _ in self._entries), default=0)
        if highest:
            self._lasts[day] = max(highest, self._lasts.get(day, 0))
        has_ended = self._question.now_s >= begins_at_s(day) + DAY_S
        if has_ended and highest > self._question.last_number:
            given = f"the account has given out {self._question.last_number} numbers"
            self._note(f"number {highest}", [("number", given)])

    def _note_gaps(self, before: Numbers, after: Numbers) -> None:
        bounds = self._bounds(before, after)
        if bounds is None:
            return
        first, last = bounds
        doubts = self._doubts()
        known = Numbers(h.seq for h in self._question.open_holds if h.seq not in doubts)
        for a, b in self._numbers.missing(first, last):
            for c, d in before.missing(a, b):
                for e, f in after.missing(c, d):
                    for gap in known.missing(e, f):
                        self._note(*_gap(gap, doubts))

    def _doubts(self) -> dict[int, str]:
        """The numbers of open holds that excuse nothing, and why."""
        question = self._question
        last_day = min(question.last_day, day_at(question.now_s))
        from_s = begins_at_s(last_day) - DAY_S
        doubts: dict[int, str] = {}
        for hold in question.open_holds:
            why = why_implausible(hold, from_s=from_s, now_s=question.now_s, lasts=self._lasts)
            if why is not None:
                doubts[hold.seq] = why
        return doubts

    def _lost(self, after: Numbers) -> Iterable[Violation]:
        """An account that has made calls has left something, unless it was all taken away. The
        period may end yesterday, for the day after it was looked at too."""
        question = self._question
        is_whole_life = next_day(question.last_day) >= day_at(question.now_s) and (
            question.created_s is None
            or day_at(max(question.created_s, question.now_s - RECEIPT_DAYS * DAY_S))
            >= question.first_day
        )
        under_way = len(question.open_holds)
        has_called = question.spent_micros > 0 or question.last_number > under_way
        if is_whole_life and has_called and not self._numbers and not after:
            given = f"it has given out {question.last_number} numbers and spent"
            told = f"{given} {question.spent_micros} micro-USD, and nothing of it stands here"
            return [("lost", told)]
        return ()

    def _bounds(self, before: Numbers, after: Numbers) -> tuple[int, int] | None:
        """The first and last number that must stand here or in the days around.

        What lies between a digest, or a neighbouring day, and the period belongs to the period:
        no day in between has items.
        """
        question, numbers = self._question, self._numbers
        digests = [closed.digest for closed in question.closed if closed.digest is not None]
        earlier = [d.tally["last"] for d in digests if d.day < question.first_day]
        later = [d.tally["first"] for d in digests if d.day > question.last_day]
        firsts = [numbers.first] if numbers else []
        lasts = [numbers.last] if numbers else []
        if before:
            firsts.append(before.last + 1)
        elif earlier:
            firsts.append(max(earlier) + 1)
        elif any(d.previous is None and d.day <= question.last_day for d in digests):
            firsts.append(1)  # the account's first day with receipts lies in the period
        if after:
            lasts.append(after.first - 1)
        elif later:
            lasts.append(min(later) - 1)
        elif question.now_s < begins_at_s(question.last_day) + DAY_S:
            lasts.append(question.last_number)
        if not firsts or not lasts:
            return None
        return min(firsts), min(max(lasts), question.last_number)


def _gap(gap: tuple[int, int], doubts: Mapping[int, str]) -> tuple[str, list[Violation]]:
    first, last = gap
    excuses = [
        ("gap", f"the open hold that has number {seq} {why}")
        for seq, why in sorted(doubts.items())
        if first <= seq <= last
    ]
    if first == last:
        return f"number {first}", [("gap", "no receipt and no tombstone has it"), *excuses]
    sentence = f"no receipt and no tombstone has one of these {last - first + 1}"
    return f"numbers {first} to {last}", [("gap", sentence), *excuses]

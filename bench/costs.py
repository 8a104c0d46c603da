"""What a stack costs on AWS, by named unit prices; `python -m bench.costs` writes docs/costs.md.

Law: no sum stands in the page that is not computed here; a test writes the page again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "costs.md"
MILLION = Decimal(1_000_000)
HOURS = Decimal(730)  # of a month


@dataclass(frozen=True, slots=True)
class Price:
    """One list price: USD for so many units."""

    name: str
    usd: Decimal
    per: Decimal
    unit: str
    page: str

    def of(self, units: Decimal) -> Decimal:
        """What these units cost."""
        return self.usd * units / self.per


def _price(name: str, usd: str, per: int | Decimal, unit: str, page: str) -> Price:
    return Price(name, Decimal(usd), Decimal(per), unit, f"https://aws.amazon.com/{page}/pricing/")


LAMBDA_MS = _price("Lambda, arm64", "0.0000133334", 1, "GB-second", "lambda")
LAMBDA_CALL = _price("Lambda, requests", "0.20", MILLION, "request", "lambda")
API_CALL = _price("API Gateway, REST", "3.50", MILLION, "request", "api-gateway")
TABLE_WRITE = _price("DynamoDB, on-demand write", "0.625", MILLION, "unit", "dynamodb")
TABLE_READ = _price("DynamoDB, on-demand read", "0.125", MILLION, "unit", "dynamodb")
TABLE_GB = _price("DynamoDB, storage", "0.25", 1, "GB-month", "dynamodb")
TABLE_BACKUP = _price("DynamoDB, point in time", "0.20", 1, "GB-month", "dynamodb")
KMS_SIGN = _price("KMS, elliptic curves", "0.15", 10_000, "request", "kms")
KMS_KEY = _price("KMS, key", "1.00", 1, "month", "kms")
SECRET = _price("Secrets Manager, secret", "0.40", 1, "month", "secrets-manager")
LOG_GB = _price("CloudWatch, logs taken in", "0.50", 1, "GB", "cloudwatch")
ALARM = _price("CloudWatch, alarm", "0.10", 1, "month", "cloudwatch")
METRIC = _price("CloudWatch, metric", "0.30", 1, "month", "cloudwatch")
DASHBOARD = _price("CloudWatch, dashboard", "3.00", 1, "month", "cloudwatch")
TASK_CPU = _price("Fargate, x86, processor", "0.04048", 1, "hour", "fargate")
TASK_GB = _price("Fargate, x86, memory", "0.004445", 1, "GB-hour", "fargate")
NAT = _price("NAT gateway", "0.045", 1, "hour", "vpc")
NAT_GB = _price("NAT gateway, data", "0.045", 1, "GB", "vpc")
ADDRESS = _price("Public IPv4 address", "0.005", 1, "hour", "vpc")
ENDPOINT = _price("Interface endpoint, a zone", "0.01", 1, "hour", "privatelink")
WAF_ACL = _price("WAF, list", "5.00", 1, "month", "waf")
WAF_RULE = _price("WAF, rule", "1.00", 1, "month", "waf")
WAF_CALL = _price("WAF, requests", "0.60", MILLION, "request", "waf")

ALARMS = 18  # of the template, without math's

PRICES = (
    LAMBDA_MS,
    LAMBDA_CALL,
    API_CALL,
    TABLE_WRITE,
    TABLE_READ,
    TABLE_GB,
    TABLE_BACKUP,
    KMS_SIGN,
    KMS_KEY,
    SECRET,
    LOG_GB,
    ALARM,
    METRIC,
    DASHBOARD,
    TASK_CPU,
    TASK_GB,
    NAT,
    NAT_GB,
    ADDRESS,
    ENDPOINT,
    WAF_ACL,
    WAF_RULE,
    WAF_CALL,
)

CHAT_GB = Decimal(1769) / 1024
MATH_GB = Decimal(1024) / 1024
TASK_SECONDS_MIN = Decimal(60)  # Fargate's least

HEAD = """\
# What a stack costs on AWS

Written by `python -m bench.costs`; change the prices there. They are list prices of us-east-1 as we
know them, without free tiers, discounts and taxes: **check them against AWS's pages before you plan
with them**. Other regions are up to half as dear again (sa-east-1, eu-central-2). What providers
charge for tokens is not in here.
"""
WAITING = """\
A call waits for its provider nearly all of its time, and Lambda is paid for by that time: at 10 s
the sum is {} USD. Less memory (`ChatMemory`) is the one lever; at 1769 MB a function has a whole
processor, which is what a cold start needs.
"""

Line = tuple[str, str, Decimal]


def chat(seconds: Decimal) -> list[Line]:
    """A million chat calls of so many seconds; the time is the provider's."""
    return [
        (
            f"Lambda, {seconds} s at 1769 MB",
            "1.73 GB x seconds",
            LAMBDA_MS.of(MILLION * seconds * CHAT_GB),
        ),
        ("Lambda, requests", "1", LAMBDA_CALL.of(MILLION)),
        ("API Gateway", "1; one more for every further 10 MB", API_CALL.of(MILLION)),
        (
            "Ledger: hold, receipt, settle",
            "4 write units (a record above 1 KB: 5)",
            TABLE_WRITE.of(4 * MILLION),
        ),
        (
            "Reads: key and catalog, cached",
            "0.1 read units",
            TABLE_READ.of(MILLION / 10),
        ),
        ("KMS: certificates, an hour each", "0.001", KMS_SIGN.of(MILLION / 1000)),
        ("Logs", "1 KB", LOG_GB.of(Decimal(1))),
        (
            "A receipt's first month, with its copy in time",
            "1 KB",
            TABLE_GB.of(Decimal(1)) + TABLE_BACKUP.of(Decimal(1)),
        ),
    ]


def math() -> list[Line]:
    """A million math calls: 40 s of the function, a sandbox for 60 s."""
    seconds = Decimal(40)
    task = TASK_SECONDS_MIN / 3600 * MILLION
    return [
        (
            f"Lambda, {seconds} s at 1024 MB",
            "1 GB x 40 s",
            LAMBDA_MS.of(MILLION * seconds * MATH_GB),
        ),
        ("Lambda, requests", "1", LAMBDA_CALL.of(MILLION)),
        ("API Gateway", "1", API_CALL.of(MILLION)),
        (
            "Ledger: hold, three raises, receipt, settle",
            "7 write units",
            TABLE_WRITE.of(7 * MILLION),
        ),
        ("Sandbox records", "3 write units", TABLE_WRITE.of(3 * MILLION)),
        ("Fargate, processor", "1 x 60 s", TASK_CPU.of(task)),
        ("Fargate, memory", "4 GB x 60 s", TASK_GB.of(4 * task)),
        ("NAT, data", "40 KB", NAT_GB.of(Decimal(40))),
        ("Logs", "2 KB", LOG_GB.of(Decimal(2))),
    ]


def standing() -> list[Line]:
    """A month of a stack that nobody calls."""
    sweeps = HOURS * 60
    return [
        ("KMS keys", "5", KMS_KEY.of(Decimal(5))),
        ("Secrets of providers", "8", SECRET.of(Decimal(8))),
        ("Alarms", str(ALARMS), ALARM.of(Decimal(ALARMS))),
        ("Metrics of the sweeper", "6", METRIC.of(Decimal(6))),
        ("Dashboard", "1", DASHBOARD.of(Decimal(1))),
        ("Sweeper", "43,800 x 0.5 s at 1 GB", LAMBDA_MS.of(sweeps / 2) + LAMBDA_CALL.of(sweeps)),
    ]


def standing_math() -> list[Line]:
    """What MathEnabled adds a month before the first call."""
    return [
        ("NAT gateway and its address", "1", NAT.of(HOURS) + ADDRESS.of(HOURS)),
        ("Interface endpoints, six in two zones", "12", ENDPOINT.of(12 * HOURS)),
        ("The sandboxes' secret and an alarm", "1", SECRET.of(Decimal(1)) + ALARM.of(Decimal(1))),
    ]


def options() -> list[Line]:
    """A month of what comes with calls, or is off by default. Each metric counts by row, and for
    the stack."""
    task = TASK_CPU.of(HOURS) + TASK_GB.of(4 * HOURS)
    return [
        ("Metrics of calls, five rows", "7 x 6", METRIC.of(Decimal(7 * 6))),
        ("A sandbox kept warm", "1", task),
        ("A second NAT gateway (NatPerZone)", "1", NAT.of(HOURS) + ADDRESS.of(HOURS)),
        (
            "WAF, with a million calls",
            "2 rules",
            WAF_ACL.of(Decimal(1)) + WAF_RULE.of(Decimal(2)) + WAF_CALL.of(MILLION),
        ),
    ]


def page() -> str:
    """The page as markdown."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield HEAD
    yield from _table("A million chat calls of 3 s", "units a call", chat(Decimal(3)))
    yield WAITING.format(_usd(_sum(chat(Decimal(10)))))
    yield from _table("A million math calls", "units a call", math())
    yield from _table("A month, without a call", "units", standing())
    yield from _table("The same for math (`MathEnabled`)", "units", standing_math())
    yield from _table("A month of calls and options", "units", options())
    yield "## Unit prices"
    yield ""
    yield "| price | USD | for | source |"
    yield "|---|---:|---|---|"
    for price in PRICES:
        amount = f"{price.per:,f} {price.unit}s" if price.per != 1 else price.unit
        yield f"| {price.name} | {price.usd} | {amount} | {price.page} |"


def _table(title: str, units: str, lines: Sequence[Line]) -> Iterator[str]:
    yield f"## {title}"
    yield ""
    yield f"| what | {units} | USD |"
    yield "|---|---|---:|"
    for name, amount, usd in lines:
        yield f"| {name} | {amount} | {_usd(usd)} |"
    yield f"| **together** | | **{_usd(_sum(lines))}** |"
    yield ""


def _sum(lines: Sequence[Line]) -> Decimal:
    return sum((usd for _, _, usd in lines), Decimal(0))


def _usd(amount: Decimal) -> str:
    return f"{amount:,.2f}"


if __name__ == "__main__":
    PAGE.write_text(page())

"""The rate card as a page that a person can read and print; no script, nothing from elsewhere."""

from html import escape

from phigate.core.types import Json

_COLUMNS = (
    ("row", "Row"),
    ("model", "Model"),
    ("regions", "Regions"),
    ("tier", "Tier"),
    ("status", "Status"),
    ("in_usd_per_mtok", "Input"),
    ("out_usd_per_mtok", "Output"),
)
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem;
  color: #1a1a1a; background: #fff }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .4rem .6rem; border-bottom: 1px solid #ddd }
th:nth-last-child(-n+2), td:nth-last-child(-n+2) { text-align: right;
  font-variant-numeric: tabular-nums }
code { font-size: .85em; overflow-wrap: anywhere }
.scroll { overflow-x: auto }
"""


def pricing_page(card: Json) -> str:
    """One HTML page for the body of /v1/pricing."""
    head = "".join(f"<th scope=col>{title}</th>" for _, title in _COLUMNS)
    rows = "".join(
        "<tr>" + "".join(f"<td>{_cell(row[name])}</td>" for name, _ in _COLUMNS) + "</tr>"
        for row in card["rows"]
    )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width, initial-scale=1'>"
        f"<title>Rate card</title><style>{_STYLE}</style>"
        f"<h1>Rate card</h1><p>{escape(card['currency'])} per million tokens, "
        f"{card['margin_percent']} % margin included. This is what is billed.</p>"
        f"<div class=scroll><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
        f"<p>Card <code>{escape(card['card'])}</code>. As JSON: the same address without "
        "<code>Accept: text/html</code>.</p></html>"
    )


def _cell(value: object) -> str:
    return escape(", ".join(value) if isinstance(value, list) else str(value))

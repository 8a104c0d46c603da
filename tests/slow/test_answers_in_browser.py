"""What upstreams write to harm whoever shows it, in a real browser: headless Chromium shows each
text as a permissive Markdown renderer makes it, and, cleaned, runs none of it and asks nobody for
anything.

A page says what happened in its title: a script that ran changes it, and a request that left is
counted by the server that it went to.
"""

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from phigate.core.tools.clean_answer import clean_value
from phigate.core.tools.figures import clean_text
from phigate.wire.svg.sanitize import sanitize
from tests.active_markup import renderer
from tests.hostile_text import EVIL, HTML, LATENT, LINKS, TEXTS

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

TITLE = re.compile(r"<title>([^<]*)</title>")
# What an attacker's script does, and what every frame of ours does with links: follow each.
PAGE = """<!doctype html><meta charset=utf-8><title>quiet</title><script>
window.said = [];
for (const name of ["alert", "confirm", "prompt", "print", "msgbox"])
    window[name] = () => { said.push(name); document.title = "ran " + said; return null; };
</script><body>%s<p>the end</p><script>
for (const link of document.querySelectorAll("a[href], area[href]"))
    if (!["http:", "https:", "mailto:"].includes(link.protocol)) link.click();
for (const each of document.querySelectorAll("body *:not(script)"))
    for (const kind of ["click", "mouseover", "focus", "toggle", "load", "begin"])
        each.dispatchEvent(new Event(kind));
</script></body>"""
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=2000",
    "--dump-dom",
)


@dataclass(slots=True)
class Site:
    """A server that hands out pages, and notes what else is asked for."""

    url: str = ""
    pages: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A site on this machine; the attacker's address is one of its paths."""
    made = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = made.pages.get(self.path)
            if page is None and self.path != "/favicon.ico":
                made.asked.append(self.path)
            body = (page or "").encode()
            self.send_response(404 if page is None else 200)
            self.send_header("content-type", "text/html; charset=utf-8")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield made
        server.shutdown()
        thread.join()


def shown(site: Site, shows: str, folder: Path) -> list[str]:
    """What a page that shows this comes to do."""
    site.pages["/page"] = PAGE % shows
    site.asked.clear()
    assert CHROMIUM is not None
    ran = subprocess.run(
        [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}", f"{site.url}/page"],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    title = TITLE.search(ran.stdout)
    said = [] if title is None or title[1] == "quiet" else [title[1]]
    left = [] if "the end" in ran.stdout else ["the page was left"]
    return said + left + [path for path in site.asked if path != "/page"]


def rendered(text: str, site: Site) -> str:
    """A text as the most permissive renderer makes it, its drawings drawn as they stand."""
    markdown = renderer()
    html: str = markdown.render(text.replace(EVIL, f"{site.url}/evil"))
    drawn = [t.content for t in markdown.parse(text) if t.type == "fence" and t.info == "svg"]
    return f"{html}{''.join(drawn)}"


# One page for each would take a browser's start each; those that only run together are parted.
SAMPLES = ("a script", "an image that fails", "details", "an svg", "a link", "an image of Markdown")


@pytest.mark.parametrize("name", SAMPLES)
def test_the_browser_sees_what_is_hostile_before_it_is_cleaned(
    name: str, site: Site, tmp_path: Path
) -> None:
    assert name not in LATENT
    assert shown(site, rendered(TEXTS[name], site), tmp_path)


@pytest.mark.parametrize("start", range(0, len(TEXTS), 12))
def test_no_cleaned_text_runs_or_asks_for_anything(start: int, site: Site, tmp_path: Path) -> None:
    texts = list(TEXTS.values())[start : start + 12]
    pages = [rendered(clean_text(text, sanitize), site) for text in texts]
    assert shown(site, "<hr>".join(pages), tmp_path) == []


def test_the_whole_table_in_one_text_runs_nothing(site: Site, tmp_path: Path) -> None:
    text = clean_text("\n\n".join(TEXTS.values()), sanitize)
    assert shown(site, rendered(text, site), tmp_path) == []


def test_strings_of_json_run_nothing_even_as_a_pages_own_html(site: Site, tmp_path: Path) -> None:
    texts = [text for text in (*HTML.values(), *LINKS.values()) if "```" not in text]
    written = clean_value(json.dumps(texts).replace("<", "\\u003c"), sanitize)
    shows = "<hr>".join(json.loads(written)) + written
    assert shown(site, shows.replace(EVIL, f"{site.url}/evil"), tmp_path) == []

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phigate.core.tools.mermaid import clean_diagram

KEPT: dict[str, str] = {
    "a flowchart": "flowchart LR\n  A[Start] --> B{x < 1?}\n  B -- yes --> C((end))",
    "a graph in one line": "graph TD; A-->B; B-->C",
    "a sequence": "sequenceDiagram\n  participant A as Anna\n  A->>+B: ask\n  B-->>-A: answer",
    "a sequence both ways": "sequenceDiagram\n  A<<->>B: talk",
    "entities": "erDiagram\n  DETAILS ||--o{ LINE : has\n  DETAILS {\n    int id PK\n  }",
    "a plan": "gantt\n  title Plan\n  dateFormat YYYY-MM-DD\n  section A\n  a :a1, 2026-01-01, 3d",
    "states": "stateDiagram-v2\n  [*] --> s\n  state f <<fork>>\n  s --> f\n  f --> [*]",
    "styles": (
        "graph TD\n  classDef hot fill:#f96,stroke:rgb(1, 2, 3),stroke-width:2px\n"
        "  style A fill:red\n  linkStyle 0 stroke:#ff3\n  class A hot"
    ),
    "a break": "graph TD\n  A[one<br>two<br/>three]",
    "a comment": "%% about links\ngraph TD\n  A-->B",
    "names that begin like a link": "graph TD\n  clicker-->links1\n  hrefs-->callbacks",
    "nodes that are details": "graph TD\n  details-->properties",
    "a character by its name": 'graph TD\n  A["#quot;a#quot;"]',
}


@pytest.mark.parametrize("diagram", KEPT.values(), ids=KEPT)
def test_a_harmless_diagram_stays_as_it_is(diagram: str) -> None:
    assert clean_diagram(diagram) == diagram


G = "graph TD\nA-->B"
CLEANED: dict[str, tuple[str, str]] = {
    "click with an address": (
        f'{G}\nclick A href "javascript:alert(1)" _top\nB-->C',
        f"{G}\nB-->C",
    ),
    "click with a callback": (f'{G}\n  click A call f("x;y")', G),
    "click in capitals behind tabs": (f"{G}\n\t CLICK A b", G),
    "click in one line": ('graph TD; A-->B; click A "x;y"; B-->C', "graph TD; A-->B"),
    "click behind a byte order mark": (f"{G}\n\ufeffclick A b", G),
    "click behind an odd space": (f"{G}\n\u2003click\u00a0A b", G),
    "href alone": (f'{G}\nhref A "x"', G),
    "callback": (f'{G}\ncallback A "f"', G),
    "link of a sequence": (
        "sequenceDiagram\nlink A: B @ https://x.test\nA->>B: c",
        "sequenceDiagram\nA->>B: c",
    ),
    "links of a sequence": ('sequenceDiagram\nLinks A: {"b": "x"}', "sequenceDiagram"),
    "a sequence's menu": (
        'sequenceDiagram\nproperties A: {"b": 1}\ndetails A: x',
        "sequenceDiagram",
    ),
    "click of a plan": ('gantt\na :a1, 1d\nclick a1 href "x"', "gantt\na :a1, 1d"),
    "click of a state": ('stateDiagram\n[*]-->a\nclick a href "x"', "stateDiagram\n[*]-->a"),
    "a directive": (f'%%{{init: {{"securityLevel": "loose"}}}}%%\n{G}', G),
    "a directive over lines": (f"%%{{\n  init: {{\n}} }}%%\n{G}", G),
    "a directive in the middle": ("graph TD\n%%{wrap}%%\nA-->B", "graph TD\n\n\nA-->B"),
    "a directive that never ends": (f"{G}\n%%{{init: {{}}\nB-->C", G),
    "a directive made by removing one": (
        f"{G}\n%%%%{{x}}%%{{init: a}}%%",
        f"{G}\n%%\n{{init: a}}%%",
    ),
    "front matter": (f"---\ntitle: a\nconfig:\n  securityLevel: loose\n---\n{G}", G),
    "front matter behind a directive": (f"%%{{a}}%%\n  ---\nconfig: x\n---\n{G}", G),
    "a picture": ('graph TD\nA@{ img: "https://x.test/a.png" }-->B', "graph TD\nA -->B"),
    "a picture by an escaped key": ('graph TD\nA@{ "\\x69mg": "x" }', "graph TD\nA"),
    "a picture behind another brace": (
        'graph TD\nA@{ a: {b: 1}, img: "x" }\nB',
        'graph TD\nA , img: "x" }\nB',
    ),
    "metadata that never end": ("graph TD\nA@{ img: x\nB", "graph TD\nA"),
    "a style that loads": (f"{G}\nstyle A fill:url(https://x.test)", G),
    "a style with an escape": (f"{G}\nclassDef a fill:\\75rl(x)", G),
    "a style that leaves its rule": (f"{G}\nclassDef a fill:red}}*{{background:blue", G),
    "a style of another function": (f"{G}\nlinkStyle 0 stroke:image-set(x)", G),
    "a background that loads": ("sequenceDiagram\nrect url(//x.test)\nend", "sequenceDiagram\nend"),
    "a scheme in a label": (f'{G}\nC["javascript:alert(1)"]', G),
    "tags": ("graph TD\nA[<b onclick=x>a</b>]", "graph TD\nA[ a ]"),
    "a tag made by removing one": ("graph TD\nA[<<b>img src=x>]", "graph TD\nA[< img src=x>]"),
    "a tag that never ends": ("graph TD\nA[<img src=x]", "graph TD\nA[< img src=x]"),
    "a tag over lines": ('graph TD\nA["<img\nsrc=x>"]', 'graph TD\nA["< img\nsrc=x>"]'),
    "a tag before click": (f"{G}\n<b>click A b", G),
    "a break before click": (f"{G}\n<br>click A b", f"{G}\n<br>click A b"),
    "a break with a handler": ("graph TD\nA[<br onload=x>]", "graph TD\nA[ ]"),
}


@pytest.mark.parametrize(("written", "clean"), CLEANED.values(), ids=CLEANED)
def test_what_links_loads_or_configures_is_removed(written: str, clean: str) -> None:
    assert clean_diagram(written) == clean


@pytest.mark.parametrize(
    "source",
    [
        *("", "hello", "pie\n a: 1", "classDiagram\n A", "mindmap\n a", "gitGraph", "graphic TD"),
        *("---\na\n---\n---\nb\n---\ngraph TD", "---\ngraph TD", "%%{ graph TD", "svg\ngraph TD"),
    ],
)
def test_what_is_no_diagram_of_the_five_kinds_is_none(source: str) -> None:
    assert clean_diagram(source) is None


PARTS = st.sampled_from(
    [
        *("graph TD", "sequenceDiagram", "\n", ";", " ", "click A", "%%", "{", "}", "%%{", "}%%"),
        *("---", "@{", "<", ">", "<br>", "<b>", "img", "url(", "x", "style A ", "link", "<<fork>>"),
    ]
)


@given(st.lists(PARTS, max_size=16).map("".join))
def test_a_second_cleaning_changes_nothing(source: str) -> None:
    clean = clean_diagram("graph TD\n" + source)
    assert clean is not None
    assert clean_diagram(clean) == clean
    assert "%%{" not in clean
    assert "@{" not in clean

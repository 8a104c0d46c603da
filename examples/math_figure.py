"""Let the math agent run Python in a sandbox without a network, and keep the figure that it draws.

Math takes general traffic only: no agreement covers the sandbox.
"""

import re
from pathlib import Path

from openai import OpenAI

client = OpenAI()
math = client.with_options(base_url=str(client.base_url).rstrip("/") + "/math")
raw = math.chat.completions.with_raw_response.create(
    model="auto",
    messages=[{"role": "user", "content": "Plot sin(x) from 0 to 6 in Python"}],
    extra_headers={"X-Region": "CH"},
)
text = raw.parse().choices[0].message.content
figures = re.findall(r"```svg\n(.*?)\n```", text, re.DOTALL)
for number, svg in enumerate(figures, start=1):
    Path(f"figure-{number}.svg").write_text(svg)
    print(f"figure-{number}.svg: {len(svg)} bytes")
print(re.sub(r"```svg\n.*?\n```", "[an SVG]", text, flags=re.DOTALL))
print(
    f"{raw.headers['x-phi-sandbox-figures']} figures, {raw.headers['x-phi-cost-micro']} micro-USD"
)

"""Show the model an image.

Under PHI an image is sent inside the request, as a data URL; an address of one is refused.
"""

import base64
import sys
from pathlib import Path

from openai import OpenAI

# A PNG of one pixel, where no file is named.
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
data = base64.b64encode(Path(sys.argv[1]).read_bytes()).decode() if sys.argv[1:] else PIXEL

answer = OpenAI().chat.completions.create(
    model="gemma-4",
    messages=[
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What does this image show?"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
            ],
        }
    ],
    extra_headers={"X-Region": "CH", "X-PHI": "true"},
)
print(answer.choices[0].message.content)

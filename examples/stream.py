"""Read an answer while it is written.

`stream_options` asks for the usage, which comes in the last chunk.
"""

from openai import OpenAI

stream = OpenAI().chat.completions.create(
    model="gemma-4",
    messages=[{"role": "user", "content": "Explain informed consent in three sentences."}],
    stream=True,
    stream_options={"include_usage": True},
    extra_headers={"X-Region": "CH", "X-PHI": "true"},
)
for chunk in stream:
    if chunk.choices and chunk.choices[0].delta.content:
        print(chunk.choices[0].delta.content, end="", flush=True)
    if chunk.usage:
        print(f"\n{chunk.usage.completion_tokens} tokens were written")

"""Ask about a patient in Switzerland, and see who answered under which terms.

The OpenAI SDK reads OPENAI_BASE_URL and OPENAI_API_KEY by itself; two headers are all that is new.
"""

from openai import OpenAI, PermissionDeniedError

client = OpenAI()
QUESTION = [{"role": "user", "content": "Summarise this discharge note: stable, home today."}]

raw = client.chat.completions.with_raw_response.create(
    model="gemma-4", messages=QUESTION, extra_headers={"X-Region": "CH", "X-PHI": "true"}
)
print(raw.parse().choices[0].message.content)
print(f"answered by {raw.headers['x-phi-routed']}")
print(f"for {raw.headers['x-phi-cost-micro']} micro-USD, receipt {raw.headers['x-phi-receipt']}")

# No provider in the US has an agreement in force, so nothing is sent there.
try:
    client.chat.completions.create(
        model="gemma-4", messages=QUESTION, extra_headers={"X-Region": "US", "X-PHI": "true"}
    )
except PermissionDeniedError as refusal:
    print(f"refused: {refusal.code}")

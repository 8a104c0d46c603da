"""Get an answer that fits a schema.

The schema is sent to a model that takes one; read the answer as you read any input, all the same.
"""

import json

from openai import OpenAI

SCHEMA = {
    "type": "object",
    "properties": {
        "diagnosis": {"type": "string"},
        "urgent": {"type": "boolean"},
    },
    "required": ["diagnosis", "urgent"],
    "additionalProperties": False,
}
answer = OpenAI().chat.completions.create(
    model="gemma-4",
    messages=[
        {"role": "user", "content": "Chest pain since an hour, radiating into the left arm."}
    ],
    response_format={
        "type": "json_schema",
        "json_schema": {"name": "triage", "schema": SCHEMA, "strict": True},
    },
    extra_headers={"X-Region": "CH", "X-PHI": "true"},
)
print(json.loads(answer.choices[0].message.content))

"""Let the model call a function of yours, and one that the gateway runs itself.

`gateway:datetime` tells the model the time in a zone; your own function you run and answer.
"""

import json

from openai import OpenAI

client = OpenAI()
LAB_VALUES = {"potassium": "4.1 mmol/l"}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "lab_value",
            "description": "The newest value of a laboratory test.",
            "parameters": {
                "type": "object",
                "properties": {"test": {"type": "string", "enum": list(LAB_VALUES)}},
                "required": ["test"],
            },
        },
    }
]
messages = [{"role": "user", "content": "Use the tool lab_value: how is the potassium?"}]
SWISS = {"X-Region": "CH", "X-PHI": "true"}

answer = (
    client.chat.completions.create(
        model="qwen3.5", messages=messages, tools=TOOLS, extra_headers=SWISS
    )
    .choices[0]
    .message
)
messages.append(answer.model_dump(exclude_none=True))
for call in answer.tool_calls or ():
    test = json.loads(call.function.arguments)["test"]
    print(f"the model asks for {call.function.name}({test!r})")
    messages.append({"role": "tool", "tool_call_id": call.id, "content": LAB_VALUES[test]})
answer = client.chat.completions.create(
    model="qwen3.5", messages=messages, tools=TOOLS, extra_headers=SWISS
)
print(answer.choices[0].message.content)

answer = client.chat.completions.create(
    model="qwen3.5",
    messages=[{"role": "user", "content": "What is the datetime in Europe/Zurich?"}],
    tools=[{"type": "gateway:datetime"}],
    extra_headers=SWISS,
)
print(answer.choices[0].message.content)
print(f"the gateway's clock was read {answer.usage.server_tool_use['datetime_requests']} times")

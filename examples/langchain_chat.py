"""Use the gateway from LangChain: its OpenAI model takes the same base URL, key and headers.

The headers are set once, and hold for every call of that model object.
"""

import os

from langchain_openai import ChatOpenAI

model = ChatOpenAI(
    model="gemma-4",
    base_url=os.environ["OPENAI_BASE_URL"],
    default_headers={"X-Region": "CH", "X-PHI": "true"},
)
answer = model.invoke("Name three risk factors of a stroke.")
print(answer.content)
print(answer.usage_metadata)

// The OpenAI SDK for Node, unmodified: its base URL and key come from OPENAI_BASE_URL and
// OPENAI_API_KEY. Prints one JSON object: what each step of the story got.

import OpenAI from "openai";

const client = new OpenAI({ maxRetries: 0 });
const messages = [{ role: "user", content: "Summarise this discharge note." }];
const swiss = { headers: { "X-Region": "CH", "X-PHI": "true" } };
const tools = [
  {
    type: "function",
    function: {
      name: "weather",
      parameters: { type: "object", properties: { place: { type: "string" } }, required: ["place"] },
    },
  },
];
const sunrise = structuredClone(tools[0]);
sunrise.function.name = "sunrise";
const pixel =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk" +
  "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

async function answered(body, options) {
  const { data, response, request_id } = await client.chat.completions
    .create(body, options)
    .withResponse();
  const headers = Object.fromEntries(
    [...response.headers].filter(([name]) => name.startsWith("x-phi-")),
  );
  return { data, headers, request_id };
}

async function refused(body, options) {
  try {
    await client.chat.completions.create(body, options);
  } catch (error) {
    const { status, code, type, requestID } = error;
    return { kind: error.constructor.name, status, code, type, requestID };
  }
  return null;
}

async function streamed() {
  const stream = await client.chat.completions.create(
    { model: "gemma-4", messages, stream: true, stream_options: { include_usage: true } },
    { headers: { "X-Region": "EU" } },
  );
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return {
    texts: chunks.map((chunk) => chunk.choices[0]?.delta?.content).filter(Boolean),
    ids: [...new Set(chunks.map((chunk) => chunk.id))],
    usage: chunks.at(-1).usage,
  };
}

async function claude() {
  const stream = client.chat.completions.stream(
    {
      model: "claude-sonnet-4-6",
      messages: [{ role: "user", content: "The weather in Bern, and the sunrise there?" }],
      tools: [...tools, sunrise],
      stream_options: { include_usage: true },
    },
    { headers: { "X-Region": "US" } },
  );
  const deltas = [];
  for await (const chunk of stream) deltas.push(...(chunk.choices[0]?.delta?.tool_calls ?? []));
  const { choices, model, usage } = await stream.finalChatCompletion();
  return { choice: choices[0], model, usage, deltas };
}

const datetime = {
  model: "openai/gpt-5-nano",
  stream: false,
  messages: [{ role: "user", content: "What is the current datetime in Europe/London?" }],
  tools: [{ type: "gateway:datetime", parameters: { timezone: "Europe/London" } }],
  tool_choice: "auto",
};

// As the public description prints it: no SDK, and no other header.
async function printed() {
  const response = await fetch(`${process.env.OPENAI_BASE_URL}/chat/completions`, {
    method: "POST",
    headers: {
      Authorization: `Bearer ${process.env.OPENAI_API_KEY}`,
      "Content-Type": "application/json",
    },
    body: JSON.stringify(datetime),
  });
  return { status: response.status, data: await response.json() };
}

const look = [
  { type: "text", text: "What does this form say?" },
  { type: "image_url", image_url: { url: `data:image/png;base64,${pixel}` } },
];
const vision = [{ role: "user", content: look }];
const models = [];
for await (const model of client.models.list()) models.push(model.id);

console.log(
  JSON.stringify({
    phi_chat: await answered({ model: "gemma-4", messages }, swiss),
    stream: await streamed(),
    phi_blocked: await refused(
      { model: "qwen3.5", messages },
      { headers: { "X-Region": "US", "X-PHI": "true" } },
    ),
    no_route: await refused(
      { model: "gpt-4o", messages: vision },
      { headers: { "X-Region": "US", "X-PHI": "true" } },
    ),
    tool: await answered({ model: "qwen3.5", messages, tools, tool_choice: "required" }, swiss),
    vision: await answered({ model: "gemma-4", messages: vision }, swiss),
    claude: await claude(),
    datetime_printed: await printed(),
    datetime: await answered(datetime, { headers: { "X-Region": "WORLD" } }),
    models,
  }),
);

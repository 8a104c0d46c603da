// Ask about a patient in Switzerland from Node, and see who answered. The SDK reads OPENAI_BASE_URL
// and OPENAI_API_KEY by itself: `npm install openai`, then `node chat.mjs`.

import OpenAI from "openai";

const { data, response } = await new OpenAI().chat.completions
  .create(
    {
      model: "gemma-4",
      messages: [{ role: "user", content: "Summarise this discharge note: stable, home today." }],
    },
    { headers: { "X-Region": "CH", "X-PHI": "true" } },
  )
  .withResponse();
console.log(data.choices[0].message.content);
console.log(`answered by ${response.headers.get("x-phi-routed")}`);

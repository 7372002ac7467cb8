// OpenAI's package for Node: chat with a tool and its own message sent back, and responses.
import OpenAI from "openai";

const client = new OpenAI({ baseURL: `${process.env.QWEN_URL}/v1`, apiKey: process.env.QWEN_KEY });
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const tools = [{ type: "function", function: { name: "weather", parameters } }];
const messages = [{ role: "user", content: "What is the weather?" }];
const first = (await client.chat.completions.create({ model: "starter", messages, tools })).choices[0].message;
const call = first.tool_calls[0];
messages.push(first, { role: "tool", tool_call_id: call.id, content: "sunny" });
const answer = (await client.chat.completions.create({ model: "starter", messages, tools })).choices[0].message;
console.log(answer.content);
messages.push(answer, { role: "user", content: "Thanks." });
let said = "";
for await (const chunk of await client.chat.completions.create({ model: "starter", messages, stream: true })) {
  said += chunk.choices[0]?.delta?.content ?? "";
}
console.log(said);
const one = await client.responses.create({ model: "starter", input: "One." });
const two = await client.responses.create({ model: "starter", input: "Two.", previous_response_id: one.id });
if (two.output_text !== "You said: Two.") throw new Error(two.output_text);
const done = await client.completions.create({ model: "starter", prompt: "a" });
if (!done.choices[0].text) throw new Error("no text");

// Vercel's `ai` with both providers: OpenAI's, which asks for responses, and the one for compatible servers.
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const where = { baseURL: `${process.env.QWEN_URL}/v1`, apiKey: process.env.QWEN_KEY };
const weather = tool({
  description: "Tell the weather.",
  inputSchema: z.object({ city: z.string() }),
  execute: async () => "sunny",
});
for (const model of [
  createOpenAI(where)("starter"),
  createOpenAICompatible({ name: "qwen", ...where })("starter"),
]) {
  const messages = [{ role: "user", content: "What is the weather?" }];
  const first = await generateText({ model, messages, tools: { weather }, stopWhen: stepCountIs(3) });
  console.log(first.text);
  messages.push(...first.response.messages, { role: "user", content: "Thanks." });
  const second = streamText({ model, messages, tools: { weather } });
  let said = "";
  for await (const part of second.textStream) said += part;
  console.log(said);
}

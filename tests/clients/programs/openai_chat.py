"""The `openai` package: chat, streamed too."""

import json
import os

from openai import OpenAI

client = OpenAI(base_url=f"{os.environ['QWEN_URL']}/v1", api_key=os.environ["QWEN_KEY"])
tool = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tell the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
messages = [{"role": "user", "content": "What is the weather?"}]
first = client.chat.completions.create(model="starter", messages=messages, tools=[tool]).choices[0]
assert first.finish_reason == "tool_calls"
(call,) = first.message.tool_calls
assert json.loads(call.function.arguments) == {"city": "Paris"}
messages += [first.message, {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
answer = client.chat.completions.create(model="starter", messages=messages, tools=[tool]).choices[0].message
print(answer.content)
messages += [answer, {"role": "user", "content": "Thanks."}]
with client.chat.completions.stream(model="starter", messages=messages, tools=[tool]) as stream:
    print("".join(event.delta for event in stream if event.type == "content.delta"))

"""LiteLLM, which puts a request into the form of a provider."""

import os

import litellm

where = {
    "model": "openai/starter",
    "api_base": f"{os.environ['QWEN_URL']}/v1",
    "api_key": os.environ["QWEN_KEY"],
}
tool = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
messages = [{"role": "user", "content": "What is the weather?"}]
first = litellm.completion(**where, messages=messages, tools=[tool]).choices[0].message
(call,) = first.tool_calls
messages += [first, {"role": "tool", "tool_call_id": call.id, "content": "sunny"}]
answer = litellm.completion(**where, messages=messages, tools=[tool]).choices[0].message
print(answer.content)
messages += [answer, {"role": "user", "content": "Thanks."}]
for chunk in litellm.completion(**where, messages=messages, stream=True):
    print(chunk.choices[0].delta.content or "", end="")

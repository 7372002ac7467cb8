"""The `anthropic` package: messages with a tool, streamed too."""

import os

from anthropic import Anthropic

client = Anthropic(base_url=os.environ["QWEN_URL"], api_key=os.environ["QWEN_KEY"])
schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
asked = {"model": "starter", "max_tokens": 100, "tools": [{"name": "weather", "input_schema": schema}]}
messages = [{"role": "user", "content": "What is the weather?"}]
first = client.messages.create(**asked, messages=messages)
(call,) = [block for block in first.content if block.type == "tool_use"]
assert (call.input, first.stop_reason) == ({"city": "Paris"}, "tool_use")
result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
messages += [{"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
answer = client.messages.create(**asked, messages=messages)
print(answer.content[0].text)
messages += [{"role": "assistant", "content": answer.content}, {"role": "user", "content": "Thanks."}]
assert client.messages.count_tokens(model="starter", messages=messages).input_tokens
with client.messages.stream(**asked, messages=messages) as stream:
    print("".join(stream.text_stream))

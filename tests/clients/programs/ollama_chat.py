"""Ollama's client with a tool, streamed too."""

import os

from ollama import Client

client = Client(os.environ["QWEN_URL"], headers={"Authorization": f"Bearer {os.environ['QWEN_KEY']}"})


def weather(city: str) -> str:
    """Tell the weather."""
    return "sunny"


messages = [{"role": "user", "content": "What is the weather?"}]
first = client.chat("starter", messages, tools=[weather]).message
(call,) = first.tool_calls
result = weather(**call.function.arguments)
messages += [first, {"role": "tool", "tool_name": call.function.name, "content": result}]
answer = client.chat("starter", messages, tools=[weather]).message
print(answer.content)
messages += [answer, {"role": "user", "content": "Thanks."}]
print("".join(part.message.content for part in client.chat("starter", messages, stream=True)))
assert client.list().models[0].model

"""The `openai` package: responses that go on from one another, streamed too."""

import os

from openai import OpenAI

client = OpenAI(base_url=f"{os.environ['QWEN_URL']}/v1", api_key=os.environ["QWEN_KEY"])
tool = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
first = client.responses.create(model="starter", input="What is the weather?", tools=[tool])
(call,) = [item for item in first.output if item.type == "function_call"]
result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
second = client.responses.create(model="starter", input=[result], tools=[tool], previous_response_id=first.id)
print(second.output_text)
with client.responses.stream(
    model="starter", input="Thanks.", tools=[tool], previous_response_id=second.id
) as stream:
    print(stream.get_final_response().output_text)

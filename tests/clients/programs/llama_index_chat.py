"""LlamaIndex with a tool."""

import os

from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike


def weather(city: str) -> str:
    """Tell the weather."""
    return "sunny"


model = OpenAILike(
    model="starter",
    api_base=f"{os.environ['QWEN_URL']}/v1",
    api_key=os.environ["QWEN_KEY"],
    is_chat_model=True,
    is_function_calling_model=True,
    context_window=4096,
)
history = [ChatMessage("What is the weather?")]
first = model.chat_with_tools([FunctionTool.from_defaults(weather)], chat_history=history)
(call,) = model.get_tool_calls_from_response(first)
assert call.tool_kwargs == {"city": "Paris"}
result = ChatMessage(
    weather(**call.tool_kwargs), role="tool", additional_kwargs={"tool_call_id": call.tool_id}
)
history += [first.message, result]
answer = model.chat(history).message
print(answer.content)
history += [answer, ChatMessage("Thanks.")]
print("".join(chunk.delta for chunk in model.stream_chat(history)))

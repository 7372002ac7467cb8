"""LangChain's ChatOpenAI with a tool."""

import os

from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI


@tool
def weather(city: str) -> str:
    """Tell the weather."""
    return "sunny"


model = ChatOpenAI(model="starter", base_url=f"{os.environ['QWEN_URL']}/v1", api_key=os.environ["QWEN_KEY"])
model = model.bind_tools([weather])
messages = [HumanMessage("What is the weather?")]
first = model.invoke(messages)
messages += [first, *[weather.invoke(call) for call in first.tool_calls]]
answer = model.invoke(messages)
print(answer.content)
messages += [answer, HumanMessage("Thanks.")]
print("".join(chunk.content for chunk in model.stream(messages)))

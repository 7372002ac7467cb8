"""openai-agents as it comes: it asks for responses."""

import os

from agents import Agent, Runner, function_tool, set_default_openai_client, set_tracing_disabled
from openai import AsyncOpenAI

set_default_openai_client(
    AsyncOpenAI(base_url=f"{os.environ['QWEN_URL']}/v1", api_key=os.environ["QWEN_KEY"])
)
set_tracing_disabled(True)


@function_tool
def weather(city: str) -> str:
    """Tell the weather."""
    return "sunny"


agent = Agent(name="a", instructions="Be short.", tools=[weather], model="starter")
first = Runner.run_sync(agent, "What is the weather?")
print(first.final_output)
print(Runner.run_sync(agent, [*first.to_input_list(), {"role": "user", "content": "Thanks."}]).final_output)

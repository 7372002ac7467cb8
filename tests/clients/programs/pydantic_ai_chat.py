"""pydantic-ai with a tool."""

import os

from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

provider = OpenAIProvider(base_url=f"{os.environ['QWEN_URL']}/v1", api_key=os.environ["QWEN_KEY"])
agent = Agent(OpenAIChatModel("starter", provider=provider))


@agent.tool_plain
def weather(city: str) -> str:
    """Tell the weather."""
    return "sunny"


first = agent.run_sync("What is the weather?")
print(first.output)
print(agent.run_sync("Thanks.", message_history=first.all_messages()).output)

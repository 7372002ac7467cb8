"""The `openai` package: completions, at once and streamed."""

import os

from openai import OpenAI

client = OpenAI(base_url=f"{os.environ['QWEN_URL']}/v1", api_key=os.environ["QWEN_KEY"])
print(client.completions.create(model="starter", prompt="The weather:").choices[0].text)
for chunk in client.completions.create(model="starter", prompt=["Thanks."], stream=True):
    print(chunk.choices[0].text, end="")

"""Instructor, which forces a call of a tool, and in another mode asks for JSON of a schema."""

import os

import instructor
from openai import OpenAI
from pydantic import BaseModel


class Weather(BaseModel):
    city: str
    degrees: int


plain = OpenAI(base_url=f"{os.environ['QWEN_URL']}/v1", api_key=os.environ["QWEN_KEY"])
for mode in (instructor.Mode.TOOLS, instructor.Mode.JSON_SCHEMA):
    client = instructor.from_openai(plain, mode=mode)
    messages = [{"role": "user", "content": "What is it like?"}]
    for _ in range(2):
        answer = client.chat.completions.create(model="starter", messages=messages, response_model=Weather)
        messages += [
            {"role": "assistant", "content": answer.model_dump_json()},
            {"role": "user", "content": "Again."},
        ]
    assert answer.model_dump() == {"city": "Paris", "degrees": 7}
print("The tool says: sunny\nYou said: Thanks.")

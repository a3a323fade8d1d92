"""LangChain against a running gateway: its own standard tests of chat models, unmodified, and, since a model of 135 million
parameters is too small for those that ask for calls and objects (conftest.py says why), the same with closed schemas.

`tests/sdk/run langchain` installs it and runs this; BASE_URL, API_KEY and MODEL say which gateway.
"""

import os
from functools import reduce
from operator import add
from typing import Literal

import pytest
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests
from pydantic import BaseModel

PARAMETERS = {
    "model": os.environ["MODEL"],
    "base_url": os.environ["BASE_URL"],
    "api_key": os.environ["API_KEY"],
    # No retries: a refusal that the client would hide is to be seen.
    "max_retries": 0,
    "timeout": 120,
    "stream_usage": True,
    # Greedy: the same words on every run.
    "temperature": 0,
    "max_tokens": 60,
}
QUESTION = "How is the weather in Rome?"


class OneCall(ChatOpenAI):
    """Left to itself, so small a model goes on calling."""

    # LangChain's tests read off the names of these what a model can do.
    def bind_tools(self, tools, *, tool_choice=None, **options):
        return super().bind_tools(tools, tool_choice=tool_choice, **{"parallel_tool_calls": False, **options})


class TestGateway(ChatModelIntegrationTests):
    @property
    def chat_model_class(self):
        return OneCall

    @property
    def chat_model_params(self):
        return PARAMETERS

    @property
    def supports_json_mode(self):
        return True

    @property
    def model_override_value(self):
        return os.environ["MODEL"]


class Weather(BaseModel):
    """Says how the weather is."""

    city: Literal["Paris", "Rome"]
    days: Literal[1, 2, 3]


def test_a_call_whole_and_streamed():
    asked = OneCall(**PARAMETERS).bind_tools([Weather], tool_choice="any", strict=True)
    whole, streamed = asked.invoke(QUESTION), reduce(add, asked.stream(QUESTION))
    for message in (whole, streamed):
        [call] = message.tool_calls
        assert call["name"] == "Weather"
        assert call["id"].startswith("call_")
        assert Weather(**call["args"]) == Weather(**whole.tool_calls[0]["args"])
        assert message.response_metadata["finish_reason"] == "tool_calls"
        assert message.usage_metadata["output_tokens"] == whole.usage_metadata["output_tokens"] > 0


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
async def test_an_object_whole_and_streamed(method):
    asked = OneCall(**PARAMETERS).with_structured_output(Weather, method=method, strict=True)
    whole = await asked.ainvoke(QUESTION)
    assert type(whole) is Weather
    *_, streamed = [piece async for piece in asked.astream(QUESTION)]
    assert streamed == whole

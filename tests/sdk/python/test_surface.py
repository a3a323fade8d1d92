"""Tools, structured output, chances and several answers, through the official Python SDK and its own helpers."""

import json
import math
from typing import Literal

from openai import LengthFinishReasonError, pydantic_function_tool
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import BaseModel, Field

import test_openai
from test_openai import SdkCase, chat


def setUpModule():
    test_openai.setUpModule()


class Weather(BaseModel):
    """Says how the weather is."""

    city: Literal["Paris", "Rome"]
    days: Literal[1, 2, 3]


class Person(BaseModel):
    name: str = Field(max_length=12)
    age: int = Field(ge=0, le=99)


TOOL = pydantic_function_tool(Weather)
MUST = {"tools": [TOOL], "tool_choice": "required", "parallel_tool_calls": False, "max_tokens": 200, "temperature": 1, "seed": 5}


class Tools(SdkCase):
    def test_a_call_is_parsed_into_the_callers_own_type(self):
        completion = test_openai.client.chat.completions.parse(**{**test_openai.GREEDY, **MUST})
        choice = completion.choices[0]
        self.assertEqual(choice.finish_reason, "tool_calls")
        [call] = choice.message.tool_calls
        self.assertIsInstance(call.function.parsed_arguments, Weather)
        self.assertTrue(call.id.startswith("call_"))

    def test_whole_and_streamed_calls_are_typed_and_the_same(self):
        completion = chat(**MUST)
        self.assert_typed(completion, ChatCompletion)
        [call] = completion.choices[0].message.tool_calls
        with test_openai.client.chat.completions.stream(**{**test_openai.GREEDY, **MUST}) as stream:
            events = list(stream)
            final = stream.get_final_completion()
        for event in events:
            if event.type == "chunk":
                self.assert_typed(event.chunk, ChatCompletionChunk)
        [streamed] = final.choices[0].message.tool_calls
        self.assertEqual(streamed.function.arguments, call.function.arguments)
        self.assertTrue(any(event.type == "tool_calls.function.arguments.done" for event in events))

    def test_a_loop_of_an_agent(self):
        messages = [{"role": "user", "content": "What is the weather in Rome?"}]
        first = chat(**MUST, messages=messages).choices[0].message
        messages += [first, {"role": "tool", "tool_call_id": first.tool_calls[0].id, "content": "Sunny."}]
        second = chat(messages=messages, tools=[TOOL], tool_choice="none")
        self.assertTrue(second.choices[0].message.content)
        self.assertIsNone(second.choices[0].message.tool_calls)


class Structured(SdkCase):
    def test_an_answer_is_parsed_into_the_callers_own_type(self):
        completion = test_openai.client.chat.completions.parse(
            **{**test_openai.GREEDY, "max_tokens": 120, "response_format": Person}
        )
        self.assertIsInstance(completion.choices[0].message.parsed, Person)

    def test_an_answer_that_was_cut_is_told_from_a_whole_one(self):
        with self.assertRaises(LengthFinishReasonError):
            test_openai.client.chat.completions.parse(
                **{**test_openai.GREEDY, "max_tokens": 2, "response_format": Person}
            )

    def test_any_object(self):
        completion = chat(response_format={"type": "json_object"}, max_tokens=300)
        if completion.choices[0].finish_reason == "stop":
            self.assertIsInstance(json.loads(completion.choices[0].message.content), dict)


class Chances(SdkCase):
    def test_typed_and_sane(self):
        completion = chat(logprobs=True, top_logprobs=5, temperature=1, seed=1)
        self.assert_typed(completion, ChatCompletion)
        content = completion.choices[0].logprobs.content
        self.assertEqual(len(content), completion.usage.completion_tokens)
        for token in content:
            self.assertEqual(len(token.top_logprobs), 5)
            self.assertLessEqual(sum(math.exp(likely.logprob) for likely in token.top_logprobs), 1.001)
            self.assertEqual(bytes(token.bytes).decode(errors="replace"), token.token)

    def test_several_answers(self):
        completion = chat(n=2, temperature=1, seed=1)
        self.assert_typed(completion, ChatCompletion)
        self.assertEqual([choice.index for choice in completion.choices], [0, 1])
        self.assertNotEqual(*(choice.message.content for choice in completion.choices))

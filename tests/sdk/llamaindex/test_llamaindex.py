"""LlamaIndex with its connector for compatible servers, unmodified, against a running gateway.

`tests/sdk/run llamaindex` installs it and runs this; BASE_URL, API_KEY and MODEL say which gateway.
"""

import asyncio
import os
import unittest
from enum import Enum

from llama_index.core.agent.workflow import FunctionAgent, ToolCallResult
from llama_index.core.llms import ChatMessage
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel, Field

CONNECTION = {
    "api_base": os.environ["BASE_URL"],
    "api_key": os.environ["API_KEY"],
    # A refusal that the framework would hide is to be seen.
    "max_retries": 0,
    "timeout": 120,
}
SKY = [ChatMessage(role="system", content="Be brief."), ChatMessage(role="user", content="Why is the sky blue?")]
PET = PromptTemplate("Invent a {what}.")


class Kind(str, Enum):
    CAT = "cat"
    DOG = "dog"


class Pet(BaseModel):
    """A pet."""

    name: str = Field(max_length=12)
    age: int = Field(ge=0, le=99)
    kind: Kind


def model(**settings):
    # Greedy: the same words on every run.
    return OpenAILike(
        **{
            **CONNECTION,
            "model": os.environ["MODEL"],
            "is_chat_model": True,
            "is_function_calling_model": True,
            "context_window": 8192,
            "temperature": 0,
            "max_tokens": 12,
            **settings,
        }
    )


class Text(unittest.TestCase):
    def test_chat_whole_and_streamed(self):
        whole = model().chat(SKY)
        self.assertTrue(whole.message.content.strip())
        self.assertEqual(whole.additional_kwargs["completion_tokens"], 12)
        pieces = list(model().stream_chat(SKY))
        self.assertGreater(len(pieces), 3)
        self.assertEqual("".join(piece.delta for piece in pieces), whole.message.content)
        self.assertEqual(pieces[-1].message.content, whole.message.content)

    def test_a_prompt_is_completed_by_chat(self):
        whole = model().complete("Why is the sky blue?").text
        self.assertTrue(whole.strip())
        self.assertEqual("".join(piece.delta for piece in model().stream_complete("Why is the sky blue?")), whole)

    def test_a_prompt_is_completed_by_the_older_api(self):
        older = model(is_chat_model=False, is_function_calling_model=False)
        whole = older.complete("The capital of France is").text
        self.assertTrue(whole.strip())
        self.assertEqual("".join(piece.delta for piece in older.stream_complete("The capital of France is")), whole)

    def test_two_at_once(self):
        async def both():
            llm = model()

            async def streamed():
                return "".join([piece.delta async for piece in await llm.astream_chat(SKY)])

            return await asyncio.gather(llm.achat(SKY), streamed())

        whole, streamed = asyncio.run(both())
        self.assertEqual(whole.message.content, streamed)

    def test_log_probabilities(self):
        [token, *_] = model(logprobs=True, top_logprobs=2, max_tokens=2).chat(SKY).logprobs
        self.assertEqual(len(token), 2)


class Objects(unittest.TestCase):
    def test_by_a_function_that_must_be_called(self):
        pet = model(max_tokens=120).structured_predict(Pet, PET, what="pet")
        self.assertIs(type(pet), Pet)

    def test_by_the_form_of_the_answer(self):
        llm = model(max_tokens=120, should_use_structured_outputs=True)
        self.assertIs(type(llm.structured_predict(Pet, PET, what="pet")), Pet)
        self.assertIs(type(llm.as_structured_llm(Pet).complete("Invent a pet.").raw), Pet)


class Tools(unittest.TestCase):
    def setUp(self):
        self.asked = []

        def weather(city: Kind) -> str:
            """Says how the weather is."""
            self.asked.append(city)
            return "sunny, 31 degrees"

        self.weather = FunctionTool.from_defaults(weather)

    def ask(self, **more):
        return model(max_tokens=40).chat_with_tools([self.weather], "Which weather has a cat?", **more)

    def assert_call(self, call):
        self.assertEqual(call.tool_name, "weather")
        self.assertTrue(call.tool_id.startswith("call_"), call.tool_id)
        self.assertIn(call.tool_kwargs["city"], list(Kind))

    def test_a_call_whole_and_streamed(self):
        llm = model(max_tokens=40)
        whole = self.ask(tool_required=True)
        [call] = llm.get_tool_calls_from_response(whole)
        self.assert_call(call)
        *_, streamed = llm.stream_chat_with_tools([self.weather], "Which weather has a cat?", tool_required=True)
        [again] = llm.get_tool_calls_from_response(streamed)
        self.assert_call(again)
        self.assertEqual(again.tool_kwargs, call.tool_kwargs)

    def test_one_by_name_and_none(self):
        other = FunctionTool.from_defaults(lambda: "noon", name="clock", description="Says the time.")
        llm = model(max_tokens=40)
        asked = llm.chat_with_tools([self.weather, other], "Which weather has a cat?", tool_choice="clock")
        self.assertEqual([call.tool_name for call in llm.get_tool_calls_from_response(asked)], ["clock"])
        asked = llm.chat_with_tools([self.weather, other], "Which weather has a cat?", tool_choice="none")
        self.assertEqual(llm.get_tool_calls_from_response(asked, error_on_no_tool_call=False), [])
        self.assertTrue(asked.message.content.strip())

    def test_an_agent_calls_a_tool_and_goes_on_with_its_output(self):
        async def run():
            agent = FunctionAgent(
                tools=[self.weather],
                llm=model(max_tokens=40),
                system_prompt="Be brief.",
                initial_tool_choice="required",
                allow_parallel_tool_calls=False,
            )
            handler = agent.run("Which weather has a cat?")
            results = [event async for event in handler.stream_events() if type(event) is ToolCallResult]
            return results, await handler

        results, output = asyncio.run(run())
        self.assertEqual([result.tool_output.content for result in results], ["sunny, 31 degrees"])
        self.assertEqual(len(self.asked), 1)
        self.assertTrue(output.response.content.strip())


if __name__ == "__main__":
    unittest.main()

"""OpenAI's Agents SDK, unmodified, against a running gateway, over both APIs that it knows.

`tests/sdk/run agents` installs it and runs this; BASE_URL, API_KEY and MODEL say which gateway.
"""

import os
import unittest
from dataclasses import replace
from typing import Literal

from agents import (
    Agent,
    AgentHooks,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    SQLiteSession,
    function_tool,
    handoff,
    set_tracing_disabled,
)
from openai import AsyncOpenAI
from pydantic import BaseModel

# Traces would go to OpenAI.
set_tracing_disabled(True)
# One call, and no other: left to itself, so small a model goes on calling.
CALLING = {"tool_choice": "required", "parallel_tool_calls": False}


class Verdict(BaseModel):
    yes: bool


class Answering(AgentHooks):
    """After the first tool the model is to answer: left to itself, so small a one may go on calling."""

    async def on_tool_end(self, context, agent, tool, result):
        agent.model_settings = replace(agent.model_settings, tool_choice="none")


class Loops:
    """What holds over either API; `model_class` says which."""

    model_class = None

    async def asyncSetUp(self):
        # No retries: a refusal that the SDK would hide is to be seen.
        client = AsyncOpenAI(base_url=os.environ["BASE_URL"], api_key=os.environ["API_KEY"], max_retries=0, timeout=120)
        self.addAsyncCleanup(client.close)
        self.model = self.model_class(os.environ["MODEL"], client)
        self.asked = []

    def agent(self, *, settings=None, **more):
        # Greedy: the same words on every run. With a type the answer comes to its end: the SDK takes one that was cut off by
        # its length for a failure, and so small a model talks on.
        settings = ModelSettings(temperature=0, max_tokens=40, include_usage=True, **(settings or {}))
        named = {"name": "guide", "instructions": "Be brief.", "output_type": Verdict, **more}
        return Agent(model=self.model, model_settings=settings, **named)

    def with_weather(self):
        @function_tool
        def weather(city: Literal["Paris", "Rome"]) -> str:
            """Says how the weather is."""
            self.asked.append(city)
            return "sunny, 31 degrees"

        hooked = {"hooks": Answering(), "reset_tool_choice": False}
        return self.agent(tools=[weather], settings=CALLING, **hooked)

    def assert_loop(self, result):
        """One call, its output, and an answer, in two requests."""
        kinds = [item.type for item in result.new_items]
        self.assertEqual(kinds, ["tool_call_item", "tool_call_output_item", "message_output_item"])
        call, output, _ = result.new_items
        self.assertEqual((call.raw_item.name, output.output), ("weather", "sunny, 31 degrees"))
        self.assertEqual(output.raw_item["call_id"], call.raw_item.call_id)
        self.assertEqual(len(self.asked), 1)
        self.assertIs(type(result.final_output), Verdict)
        first, second = (response.usage for response in result.raw_responses)
        # The call and its output are in the second prompt.
        self.assertGreater(second.input_tokens, first.input_tokens)
        self.assertEqual(result.context_wrapper.usage.total_tokens, first.total_tokens + second.total_tokens)

    async def test_a_tool_is_called_and_its_output_answered(self):
        self.assert_loop(await Runner.run(self.with_weather(), "Is it warm in Rome?"))

    async def test_the_loop_is_streamed(self):
        result = Runner.run_streamed(self.with_weather(), "Is it warm in Rome?")
        deltas = [
            event.data.delta
            async for event in result.stream_events()
            if event.type == "raw_response_event" and event.data.type == "response.output_text.delta"
        ]
        self.assert_loop(result)
        self.assertEqual(Verdict.model_validate_json("".join(deltas)), result.final_output)

    async def test_a_typed_output(self):
        result = await Runner.run(self.agent(), "Is the sea wet?")
        self.assertIs(type(result.final_output), Verdict)

    async def test_one_agent_hands_over_to_another(self):
        sailor = self.agent(name="sailor", handoff_description="Knows the sea.")
        first = self.agent(handoffs=[handoff(sailor)], settings=CALLING)
        result = await Runner.run(first, "What is a ship?")
        self.assertEqual(result.last_agent.name, "sailor")
        self.assertIs(type(result.final_output), Verdict)

    async def test_a_session_remembers(self):
        session = SQLiteSession("a conversation")
        self.addCleanup(session.close)
        first = await Runner.run(self.agent(), "Why is the sky blue?", session=session)
        second = await Runner.run(self.agent(), "And at night?", session=session)
        self.assertGreater(second.raw_responses[0].usage.input_tokens, first.raw_responses[0].usage.total_tokens)


class OverResponses(Loops, unittest.IsolatedAsyncioTestCase):
    model_class = OpenAIResponsesModel

    async def test_a_conversation_goes_on_from_an_id(self):
        first = await Runner.run(self.agent(), "Why is the sky blue?")
        second = await Runner.run(self.agent(), "And at night?", previous_response_id=first.last_response_id)
        self.assertGreater(second.raw_responses[0].usage.input_tokens, first.raw_responses[0].usage.total_tokens)


class OverChatCompletions(Loops, unittest.IsolatedAsyncioTestCase):
    model_class = OpenAIChatCompletionsModel


if __name__ == "__main__":
    unittest.main()

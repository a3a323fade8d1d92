"""The Responses API through the official Python SDK, unmodified, against a running gateway."""

import json
import unittest

import openai
from openai import OpenAI
from openai.types.responses import Response, ResponseCompletedEvent, ResponseFunctionToolCall, ResponseTextDeltaEvent
from pydantic import BaseModel

from test_openai import CONNECTION, MODEL, SdkCase

# Greedy: the same words on every run.
GREEDY = {"model": MODEL, "input": "Why is the sky blue?", "max_output_tokens": 12, "temperature": 0}
WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "Says what the weather is like.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Paris", "Rome"]}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}
# One call, and no other: left to itself, so small a model goes on calling.
CALLING = {"tools": [WEATHER], "tool_choice": "required", "parallel_tool_calls": False, "max_output_tokens": 60}


class Verdict(BaseModel):
    yes: bool


def setUpModule():
    global client
    client = OpenAI(**CONNECTION)
    unittest.addModuleCleanup(client.close)


def create(**request):
    return client.responses.create(**{**GREEDY, **request})


class ResponsesCase(SdkCase):
    def assert_response(self, response, at_most):
        self.assert_typed(response, Response)
        self.assertTrue(response.id.startswith("resp_"), response.id)
        self.assertIn(response.status, ("completed", "incomplete"))
        self.assertEqual(response.model, MODEL)
        usage = response.usage
        self.assertGreater(usage.input_tokens, 0)
        self.assertLessEqual(usage.output_tokens, at_most)
        self.assertEqual(usage.total_tokens, usage.input_tokens + usage.output_tokens)
        self.assertEqual(usage.energy["tier"], "E")
        self.assertGreater(float(usage.cost), 0)


class Responses(ResponsesCase):
    def test_create(self):
        response = create(instructions="Be brief.", metadata={"for": "a test"})
        self.assert_response(response, at_most=12)
        self.assertTrue(response.output_text.strip())
        self.assertEqual((response.instructions, response.metadata), ("Be brief.", {"for": "a test"}))

    def test_a_limit_is_named(self):
        response = create(max_output_tokens=2)
        self.assertEqual(response.status, "incomplete")
        self.assertEqual(response.incomplete_details.reason, "max_output_tokens")

    def test_what_is_kept_is_found_and_deleted(self):
        response = create()
        self.assertEqual(client.responses.retrieve(response.id).to_dict(), response.to_dict())
        items = list(client.responses.input_items.list(response.id, order="asc"))
        self.assertEqual([item.content[0].text for item in items], [GREEDY["input"]])
        with self.assertRaises(openai.BadRequestError):
            client.responses.cancel(response.id)
        client.responses.delete(response.id)
        for gone in (client.responses.retrieve, client.responses.delete, client.responses.input_items.list):
            with self.assertRaises(openai.NotFoundError):
                gone(response.id)

    def test_store_false_keeps_nothing(self):
        response = create(store=False)
        with self.assertRaises(openai.NotFoundError):
            client.responses.retrieve(response.id)

    def test_a_conversation_goes_on_from_its_id_as_from_all_of_it(self):
        first = create()
        more = {"role": "user", "content": "And at night?"}
        by_id = create(input=[more], previous_response_id=first.id)
        whole = create(input=[{"role": "user", "content": GREEDY["input"]}, *first.output, more])
        self.assertEqual(by_id.output_text, whole.output_text)
        self.assertEqual(by_id.usage.input_tokens, whole.usage.input_tokens)
        self.assertEqual(by_id.previous_response_id, first.id)

    def test_parse(self):
        response = client.responses.parse(**{**GREEDY, "max_output_tokens": 60}, text_format=Verdict)
        self.assertIs(type(response.output_parsed), Verdict)

    def test_a_function_is_called_and_answered(self):
        called = create(**CALLING, input="Is it warm in Rome?")
        self.assert_response(called, at_most=60)
        [call] = called.output
        self.assertIs(type(call), ResponseFunctionToolCall)
        self.assertEqual(call.name, "weather")
        self.assertIn(json.loads(call.arguments)["city"], ("Paris", "Rome"))
        output = {"type": "function_call_output", "call_id": call.call_id, "output": "30 degrees"}
        answer = create(tools=[WEATHER], tool_choice="none", previous_response_id=called.id, input=[output])
        self.assert_response(answer, at_most=12)
        self.assertTrue(answer.output_text.strip())

    def test_logprobs(self):
        response = create(include=["message.output_text.logprobs"], top_logprobs=2)
        [part] = response.output[0].content
        self.assertEqual("".join(token.token for token in part.logprobs), part.text)
        self.assertTrue(all(len(token.top_logprobs) == 2 for token in part.logprobs))


class ResponsesStream(ResponsesCase):
    def test_events_add_up_to_the_whole_answer(self):
        events = list(create(stream=True))
        self.assertEqual([event.sequence_number for event in events], list(range(len(events))))
        self.assertEqual([event.type for event in events[:2]], ["response.created", "response.in_progress"])
        for event in events:
            self.assert_typed(event, type(event))
        last = events[-1].response
        self.assert_response(last, at_most=12)
        deltas = [event for event in events if type(event) is ResponseTextDeltaEvent]
        self.assertGreater(len(deltas), 1)
        self.assertEqual("".join(event.delta for event in deltas), last.output_text)
        self.assertEqual(last.output_text, create().output_text)
        self.assertEqual(client.responses.retrieve(last.id).to_dict(), last.to_dict())

    def test_stream_helper(self):
        # The helper takes a response that was cut off by its length for a failure.
        request = {"model": MODEL, "input": "Say yes.", "max_output_tokens": 60, "temperature": 0}
        with client.responses.stream(**request, text_format=Verdict) as stream:
            events = list(stream)
            response = stream.get_final_response()
        self.assertIs(type(response.output_parsed), Verdict)
        text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
        self.assertEqual(response.output_text, text)
        self.assertIn("response.completed", [event.type for event in events])

    def test_a_call_is_streamed(self):
        events = list(create(**CALLING, stream=True))
        self.assertIs(type(events[-1]), ResponseCompletedEvent)
        [call] = events[-1].response.output
        arguments = "".join(e.delta for e in events if e.type == "response.function_call_arguments.delta")
        self.assertEqual(arguments, call.arguments)
        self.assertEqual(json.loads(arguments).keys(), {"city"})


class ResponsesErrors(ResponsesCase):
    def assert_refused(self, error, code, param, **request):
        with self.assertRaises(error) as caught:
            create(**request)
        self.assertEqual((caught.exception.code, caught.exception.param), (code, param))

    def test_what_is_not_there_is_named(self):
        bad = openai.BadRequestError
        self.assert_refused(bad, "unsupported_parameter", "background", background=True)
        self.assert_refused(bad, "unsupported_parameter", "conversation", conversation="conv_1")
        self.assert_refused(bad, "unsupported_value", "truncation", truncation="auto")
        self.assert_refused(bad, "unsupported_value", "tools[0].type", tools=[{"type": "web_search"}])
        self.assert_refused(bad, "unknown_parameter", "tempratur", extra_body={"tempratur": 1})
        self.assert_refused(bad, "previous_response_not_found", "previous_response_id", previous_response_id="resp_1")
        self.assert_refused(openai.NotFoundError, "model_not_found", "model", model="no-such-model")

    def test_what_a_node_refuses_is_said_in_our_words(self):
        text = "word " * (client.models.retrieve(MODEL).context_length * 3 // 2)
        self.assert_refused(openai.BadRequestError, "context_length_exceeded", "input", input=text)
        self.assert_refused(openai.BadRequestError, "context_length_exceeded", "input", input=text, stream=True)


if __name__ == "__main__":
    unittest.main()

"""The official Python SDK, unmodified, against a running gateway.

`tests/sdk/run python` installs the SDK and runs this; BASE_URL, API_KEY and MODEL say which gateway.
"""

import asyncio
import os
import time
import unittest
import warnings
from itertools import chain
from uuid import UUID

import openai
from openai import AsyncOpenAI, OpenAI
from openai.types import Completion, CompletionUsage, Model
from openai.types.chat import ChatCompletion, ChatCompletionChunk

MODEL = os.environ["MODEL"]
# No retries: a refusal that the SDK would hide is to be seen.
CONNECTION = {
    "base_url": os.environ["BASE_URL"],
    "api_key": os.environ["API_KEY"],
    "max_retries": 0,
    "timeout": 120,
}
SKY = [{"role": "user", "content": "Why is the sky blue?"}]
# Greedy: the same words on every run.
GREEDY = {"model": MODEL, "messages": SKY, "max_tokens": 12, "temperature": 0}


def setUpModule():
    global client
    client = OpenAI(**CONNECTION)
    unittest.addModuleCleanup(client.close)


def chat(**request):
    return client.chat.completions.create(**{**GREEDY, **request})


def complete(**request):
    return client.completions.create(
        **{"model": MODEL, "prompt": "The capital of France is", "max_tokens": 8, "temperature": 0, **request}
    )


class SdkCase(unittest.TestCase):
    def assert_typed(self, value, kind):
        """What came is exactly what the SDK's own type declares; the SDK itself doesn't check."""
        self.assertIs(type(value), kind)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            kind.model_validate_json(value.to_json(), strict=True)
            value.model_dump_json()

    def assert_usage(self, usage, at_most):
        self.assertIs(type(usage), CompletionUsage)
        self.assertGreater(usage.prompt_tokens, 0)
        self.assertGreater(usage.completion_tokens, 0)
        self.assertLessEqual(usage.completion_tokens, at_most)
        self.assertEqual(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens)
        self.assertEqual(usage.prompt_tokens_details.cached_tokens, 0)
        energy = usage.energy
        low, high = energy["interval_90"]
        self.assertEqual(energy["tier"], "E")
        self.assertIs(type(energy["joules"]), float)
        self.assertGreater(energy["joules"], 0)
        self.assertLess(low, high)
        self.assertLessEqual(low, energy["joules"])
        self.assertGreaterEqual(high, energy["joules"])
        self.assertIn(energy["boundary"], ("device", "node-dc", "wall", "facility"))
        self.assertTrue(energy["method"])

    def assert_uuid(self, text):
        self.assertEqual(str(UUID(text)), text)


class Models(SdkCase):
    def test_list_holds_the_model(self):
        models = list(client.models.list())
        self.assertIn(MODEL, [model.id for model in models])
        for model in models:
            self.assert_typed(model, Model)
            self.assertEqual(model.object, "model")
            self.assertGreater(model.context_length, 0)

    def test_retrieve(self):
        model = client.models.retrieve(MODEL)
        self.assert_typed(model, Model)
        self.assertEqual(model.id, MODEL)
        self.assertTrue(model.owned_by)

    def test_retrieve_unknown(self):
        # The slash, as many model names have one, travels escaped.
        for name in ["no-such-model", "nobody/no-such-model"]:
            with self.assertRaises(openai.NotFoundError) as caught:
                client.models.retrieve(name)
            self.assertEqual(caught.exception.code, "model_not_found")
            self.assertIn(name, caught.exception.message)


class Chat(SdkCase):
    def test_create(self):
        completion = chat()
        self.assert_typed(completion, ChatCompletion)
        self.assertTrue(completion.id.startswith("chatcmpl-"), completion.id)
        self.assertEqual(completion.object, "chat.completion")
        self.assertEqual(completion.model, MODEL)
        self.assertLess(abs(completion.created - time.time()), 300)
        self.assertTrue(completion.system_fingerprint)
        self.assertEqual(len(completion.choices), 1)
        choice = completion.choices[0]
        self.assertEqual(choice.index, 0)
        self.assertIn(choice.finish_reason, ("stop", "length"))
        self.assertIsNone(choice.logprobs)
        self.assertEqual(choice.message.role, "assistant")
        self.assertTrue(choice.message.content.strip())
        self.assertIsNone(choice.message.refusal)
        self.assertIsNone(choice.message.tool_calls)
        self.assert_usage(completion.usage, at_most=12)

    def test_max_completion_tokens(self):
        completion = client.chat.completions.create(model=MODEL, messages=SKY, max_completion_tokens=3, temperature=0)
        self.assert_usage(completion.usage, at_most=3)
        self.assertEqual(completion.choices[0].finish_reason, "length")

    def test_conversation_goes_on_with_the_message_that_came(self):
        messages = [
            {"role": "developer", "content": "Answer in one sentence."},
            {"role": "user", "content": [{"type": "text", "text": "Why is "}, {"type": "text", "text": "it blue?"}]},
        ]
        first = chat(messages=messages, max_tokens=4)
        second = chat(
            messages=[*messages, first.choices[0].message, {"role": "user", "content": "Go on."}], max_tokens=4
        )
        self.assertGreater(second.usage.prompt_tokens, first.usage.total_tokens)
        self.assertTrue(second.choices[0].message.content)

    def test_same_seed_same_text(self):
        def text(seed):
            completion = chat(temperature=1, seed=seed, max_tokens=16)
            return completion.choices[0].message.content

        first = text(7)
        self.assertEqual(first, text(7))
        self.assertNotEqual(first, text(8))

    def test_stop_ends_the_text_before_the_stop_string(self):
        whole = chat().choices[0].message.content
        # From within a word into the next: tokens begin and end elsewhere.
        stop = whole[6:12]
        expected = whole[: whole.index(stop)]
        choice = chat(stop=stop).choices[0]
        self.assertEqual((choice.message.content, choice.finish_reason), (expected, "stop"))
        choice = chat(stop=["never to be seen", stop]).choices[0]
        self.assertEqual((choice.message.content, choice.finish_reason), (expected, "stop"))

        choices = [chunk.choices[0] for chunk in chat(stop=stop, stream=True)]
        self.assertEqual("".join(choice.delta.content or "" for choice in choices), expected)
        self.assertEqual(choices[-1].finish_reason, "stop")


class ChatStream(SdkCase):
    def assert_chunks(self, chunks):
        """What is true of all chunks that have a choice; returns the text."""
        for chunk in chunks:
            self.assert_typed(chunk, ChatCompletionChunk)
            self.assertEqual(chunk.object, "chat.completion.chunk")
            self.assertEqual((chunk.id, chunk.model, chunk.created), (chunks[0].id, MODEL, chunks[0].created))
            self.assertIsNone(chunk.usage)
            self.assertEqual([choice.index for choice in chunk.choices], [0])
        self.assertTrue(chunks[0].id.startswith("chatcmpl-"), chunks[0].id)
        choices = [chunk.choices[0] for chunk in chunks]
        roles = [choice.delta.role for choice in choices]
        self.assertEqual(roles, ["assistant"] + [None] * (len(choices) - 1))
        reasons = [choice.finish_reason for choice in choices]
        self.assertEqual(reasons[:-1], [None] * (len(choices) - 1))
        self.assertIn(reasons[-1], ("stop", "length"))
        return "".join(choice.delta.content or "" for choice in choices)

    def test_stream_adds_up_to_the_whole_answer(self):
        chunks = list(chat(stream=True))
        self.assertGreater(len(chunks), 3)
        text = self.assert_chunks(chunks)
        self.assertTrue(text.strip())
        self.assertEqual(text, chat().choices[0].message.content)

    def test_include_usage(self):
        *chunks, last = chat(stream=True, stream_options={"include_usage": True})
        self.assert_chunks(chunks)
        self.assert_typed(last, ChatCompletionChunk)
        self.assertEqual((last.id, last.choices), (chunks[0].id, []))
        self.assert_usage(last.usage, at_most=12)

    def test_stream_helper(self):
        # The helper takes an answer that was cut off by its length for a failure.
        request = {**GREEDY, "stop": [" "]}
        with client.chat.completions.stream(**request, stream_options={"include_usage": True}) as stream:
            events = list(stream)
            completion = stream.get_final_completion()
        text = completion.choices[0].message.content
        self.assertTrue(text)
        self.assertEqual("".join(event.delta for event in events if event.type == "content.delta"), text)
        self.assertEqual([event.content for event in events if event.type == "content.done"], [text])
        self.assertEqual(completion.choices[0].finish_reason, "stop")
        self.assertEqual(completion.choices[0].message.role, "assistant")
        self.assert_usage(completion.usage, at_most=12)

    def test_another_request_works_after_a_stream_closed_early(self):
        story = [{"role": "user", "content": "Write a very long story."}]
        with chat(messages=story, max_tokens=4_000, stream=True) as stream:
            texts = (chunk.choices[0].delta.content for chunk in stream)
            self.assertTrue(next(filter(None, texts)))
        # Far less than the rest of the story would take.
        completion = client.with_options(timeout=30).chat.completions.create(**{**GREEDY, "max_tokens": 2})
        self.assertTrue(completion.choices[0].message.content)


class Completions(SdkCase):
    def test_create(self):
        completion = complete()
        self.assert_typed(completion, Completion)
        self.assertTrue(completion.id.startswith("cmpl-"), completion.id)
        self.assertEqual((completion.object, completion.model), ("text_completion", MODEL))
        self.assertEqual(len(completion.choices), 1)
        self.assertTrue(completion.choices[0].text.strip())
        self.assertIn(completion.choices[0].finish_reason, ("stop", "length"))
        self.assert_usage(completion.usage, at_most=8)

    def test_stream_adds_up_to_the_whole_answer(self):
        *pieces, last = complete(stream=True, stream_options={"include_usage": True})
        self.assertEqual({type(piece) for piece in [*pieces, last]}, {Completion})
        self.assertEqual({piece.id for piece in [*pieces, last]}, {last.id})
        choices = list(chain.from_iterable(piece.choices for piece in pieces))
        self.assertEqual("".join(choice.text for choice in choices), complete().choices[0].text)
        self.assertEqual([choice.finish_reason for choice in choices[:-1]], [None] * (len(choices) - 1))
        self.assertIn(choices[-1].finish_reason, ("stop", "length"))
        self.assertEqual([piece.usage for piece in pieces], [None] * len(pieces))
        self.assertEqual(last.choices, [])
        self.assert_usage(last.usage, at_most=8)


class Headers(SdkCase):
    def assert_headers(self, headers):
        for name in ("x-request-id", "x-commonwatt-request-id", "x-commonwatt-node"):
            self.assert_uuid(headers[name])
        self.assertGreaterEqual(int(headers["openai-processing-ms"]), 0)

    def test_raw_response(self):
        response = client.chat.completions.with_raw_response.create(**{**GREEDY, "max_tokens": 4})
        self.assertEqual(response.status_code, 200)
        self.assertEqual(response.headers["content-type"], "application/json")
        self.assert_headers(response.headers)
        completion = response.parse()
        self.assert_typed(completion, ChatCompletion)
        self.assertEqual(completion._request_id, response.headers["x-request-id"])
        self.assertEqual(float(response.headers["x-energy-joules"]), completion.usage.energy["joules"])
        self.assertEqual(response.headers["x-energy-tier"], completion.usage.energy["tier"])

    def test_raw_stream(self):
        response = client.chat.completions.with_raw_response.create(**{**GREEDY, "max_tokens": 4}, stream=True)
        self.assertEqual(response.headers["content-type"].partition(";")[0], "text/event-stream")
        self.assert_headers(response.headers)
        self.assertGreater(len(list(response.parse())), 1)


class Errors(SdkCase):
    def assert_refused(self, kind, code, param, call=chat, **request):
        with self.assertRaises(openai.APIStatusError) as caught:
            call(**request)
        error = caught.exception
        self.assertIs(type(error), kind, error)
        self.assertEqual((error.code, error.param), (code, param))
        self.assertEqual(error.type, "invalid_request_error")
        self.assertTrue(error.body["message"])
        self.assert_uuid(error.request_id)
        return error

    def test_wrong_key(self):
        real = CONNECTION["api_key"]
        wrong = real[:-1] + ("a" if real[-1] != "a" else "b")
        refused = client.with_options(api_key=wrong)
        error = self.assert_refused(
            openai.AuthenticationError, "invalid_api_key", None, refused.chat.completions.create, **GREEDY
        )
        self.assertNotIn(wrong, str(error))
        self.assert_refused(openai.AuthenticationError, "invalid_api_key", None, refused.models.list)

    def refusal_with_key_in(self, variable):
        if not os.environ.get(variable):
            self.skipTest(f"{variable} names no key")
        with self.assertRaises(openai.APIStatusError) as caught:
            client.with_options(api_key=os.environ[variable]).chat.completions.create(**GREEDY)
        return caught.exception

    def test_without_credit(self):
        error = self.refusal_with_key_in("KEY_WITHOUT_CREDIT")
        self.assertEqual((error.status_code, error.code, error.type), (402,) + ("insufficient_quota",) * 2)

    def test_without_requests(self):
        error = self.refusal_with_key_in("KEY_WITHOUT_REQUESTS")
        self.assertIs(type(error), openai.RateLimitError)
        self.assertEqual((error.code, error.type), ("rate_limit_exceeded", "requests"))

    def test_unknown_model(self):
        self.assert_refused(openai.NotFoundError, "model_not_found", "model", model="no-such-model")
        self.assert_refused(openai.NotFoundError, "model_not_found", "model", complete, model="no-such-model")

    def test_no_messages(self):
        self.assert_refused(openai.BadRequestError, "empty_array", "messages", messages=[])

    def test_a_choice_without_tools(self):
        self.assert_refused(openai.BadRequestError, "invalid_value", "tool_choice", tool_choice="required")

    def test_temperature_out_of_range(self):
        self.assert_refused(openai.BadRequestError, "decimal_above_max_value", "temperature", temperature=3)

    def test_unknown_field(self):
        self.assert_refused(
            openai.BadRequestError, "unknown_parameter", "temprature", extra_body={"temprature": 0.5}
        )

    def test_a_stream_is_refused_as_a_whole_answer_is(self):
        self.assert_refused(openai.BadRequestError, "decimal_above_max_value", "top_p", stream=True, top_p=1.5)

    def test_prompt_longer_than_the_context(self):
        # A word is a token at least.
        text = "word " * (client.models.retrieve(MODEL).context_length * 3 // 2)
        expected = (openai.BadRequestError, "context_length_exceeded")
        self.assert_refused(*expected, "messages", messages=[{"role": "user", "content": text}])
        self.assert_refused(*expected, "prompt", complete, prompt=text)


class Async(unittest.IsolatedAsyncioTestCase):
    async def test_three_requests_at_once(self):
        async with AsyncOpenAI(**CONNECTION) as client:

            async def whole(question):
                messages = [{"role": "user", "content": question}]
                completion = await client.chat.completions.create(model=MODEL, messages=messages, max_tokens=4)
                return completion.id, completion.choices[0].message.content

            async def streamed(question):
                messages = [{"role": "user", "content": question}]
                stream = await client.chat.completions.create(
                    model=MODEL, messages=messages, max_tokens=4, stream=True
                )
                chunks = [chunk async for chunk in stream]
                return chunks[0].id, "".join(chunk.choices[0].delta.content or "" for chunk in chunks)

            answers = await asyncio.gather(whole("Say yes."), streamed("Say no."), whole("Say maybe."))
        self.assertEqual(len({id for id, _ in answers}), 3)
        for _, text in answers:
            self.assertTrue(text)


if __name__ == "__main__":
    unittest.main()

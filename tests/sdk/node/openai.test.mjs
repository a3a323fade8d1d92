// The official Node SDK, unmodified, against a running gateway.
//
// `tests/sdk/run node` installs the SDK and runs this; BASE_URL, API_KEY and MODEL say which gateway.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import OpenAI, { APIError, APIUserAbortError, AuthenticationError, BadRequestError, NotFoundError } from 'openai';

const { BASE_URL: baseURL, API_KEY: apiKey, MODEL: model } = process.env;
// No retries: a refusal that the SDK would hide is to be seen.
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 120_000 });
const messages = [{ role: 'user', content: 'Why is the sky blue?' }];
// Greedy: the same words on every run.
const greedy = { model, messages, max_tokens: 12, temperature: 0 };

const chat = (request, options) => client.chat.completions.create({ ...greedy, ...request }, options);
const complete = (request) =>
  client.completions.create({ model, prompt: 'The capital of France is', max_tokens: 8, temperature: 0, ...request });

async function collect(stream) {
  const all = [];
  for await (const item of await stream) all.push(item);
  return all;
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

function assertUsage(usage, atMost) {
  for (const count of [usage.prompt_tokens, usage.completion_tokens]) {
    assert.ok(Number.isInteger(count) && count > 0, `${count}`);
  }
  assert.ok(usage.completion_tokens <= atMost, `${usage.completion_tokens} tokens`);
  assert.equal(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens);
  assert.equal(usage.prompt_tokens_details.cached_tokens, 0);
  const { joules, interval_90: interval, tier, boundary, method } = usage.energy;
  assert.equal(tier, 'E');
  assert.ok(['device', 'node-dc', 'wall', 'facility'].includes(boundary), boundary);
  assert.ok(method);
  assert.ok(typeof joules === 'number' && joules > 0, `${joules}`);
  assert.equal(interval.length, 2);
  const [low, high] = interval;
  assert.ok(low < high && low <= joules && joules <= high, `${joules} in ${interval}`);
}

// The chunks that have a choice. Returns their text.
function assertChunks(chunks) {
  const [first] = chunks;
  assert.match(first.id, /^chatcmpl-/);
  for (const chunk of chunks) {
    assert.equal(chunk.object, 'chat.completion.chunk');
    assert.equal(chunk.id, first.id);
    assert.equal(chunk.model, model);
    assert.equal(chunk.created, first.created);
    assert.equal(chunk.usage ?? null, null);
    assert.deepEqual(
      chunk.choices.map(({ index }) => index),
      [0],
    );
  }
  const choices = chunks.map(({ choices: [choice] }) => choice);
  assert.equal(choices[0].delta.role, 'assistant');
  assert.ok(choices.slice(1).every(({ delta }) => !('role' in delta)));
  assert.ok(choices.slice(0, -1).every(({ finish_reason: reason }) => reason === null));
  assert.ok(['stop', 'length'].includes(choices.at(-1).finish_reason));
  return choices.map(({ delta }) => delta.content ?? '').join('');
}

describe('models', () => {
  test('the list holds the model', async () => {
    const models = await collect(client.models.list());
    assert.ok(models.some(({ id }) => id === model));
    for (const found of models) {
      assert.equal(found.object, 'model');
      assert.ok(Number.isInteger(found.created));
      assert.equal(typeof found.owned_by, 'string');
      assert.ok(found.context_length > 0);
    }
  });

  test('retrieve', async () => {
    const found = await client.models.retrieve(model);
    assert.equal(found.id, model);
    assert.equal(found.object, 'model');
    assert.ok(found.owned_by);
  });

  test('retrieve an unknown one', async () => {
    // The slash, as many model names have one, travels escaped.
    for (const name of ['no-such-model', 'nobody/no-such-model']) {
      await assert.rejects(client.models.retrieve(name), (error) => {
        assert.equal(error.constructor, NotFoundError);
        assert.equal(error.code, 'model_not_found');
        assert.ok(error.message.includes(name), error.message);
        return true;
      });
    }
  });
});

describe('chat completions', () => {
  test('create', async () => {
    const completion = await chat();
    assert.match(completion.id, /^chatcmpl-/);
    assert.equal(completion.object, 'chat.completion');
    assert.equal(completion.model, model);
    assert.ok(Math.abs(completion.created - Date.now() / 1000) < 300);
    assert.ok(completion.system_fingerprint);
    assert.equal(completion.choices.length, 1);
    const [choice] = completion.choices;
    assert.equal(choice.index, 0);
    assert.ok(['stop', 'length'].includes(choice.finish_reason));
    assert.equal(choice.logprobs, null);
    assert.equal(choice.message.role, 'assistant');
    assert.ok(choice.message.content.trim());
    assert.equal(choice.message.refusal, null);
    assert.equal(choice.message.tool_calls, undefined);
    assertUsage(completion.usage, 12);
  });

  test('max_completion_tokens', async () => {
    const request = { model, messages, max_completion_tokens: 3, temperature: 0 };
    const completion = await client.chat.completions.create(request);
    assertUsage(completion.usage, 3);
    assert.equal(completion.choices[0].finish_reason, 'length');
  });

  test('a conversation goes on with the message that came', async () => {
    const parts = ['Why is ', 'it blue?'].map((text) => ({ type: 'text', text }));
    const opening = [
      { role: 'developer', content: 'Answer in one sentence.' },
      { role: 'user', content: parts },
    ];
    const first = await chat({ messages: opening, max_tokens: 4 });
    const goOn = { role: 'user', content: 'Go on.' };
    const second = await chat({ messages: [...opening, first.choices[0].message, goOn], max_tokens: 4 });
    assert.ok(second.usage.prompt_tokens > first.usage.total_tokens);
    assert.ok(second.choices[0].message.content);
  });

  test('the same seed gives the same text', async () => {
    const text = async (seed) => {
      const completion = await chat({ temperature: 1, seed, max_tokens: 16 });
      return completion.choices[0].message.content;
    };
    const first = await text(7);
    assert.equal(await text(7), first);
    assert.notEqual(await text(8), first);
  });

  test('a stop string ends the text before it', async () => {
    const whole = (await chat()).choices[0].message.content;
    // From within a word into the next: tokens begin and end elsewhere.
    const stop = whole.slice(6, 12);
    const expected = whole.slice(0, whole.indexOf(stop));
    for (const stops of [stop, ['never to be seen', stop]]) {
      const [choice] = (await chat({ stop: stops })).choices;
      assert.equal(choice.message.content, expected);
      assert.equal(choice.finish_reason, 'stop');
    }

    const chunks = await collect(chat({ stop, stream: true }));
    assert.equal(assertChunks(chunks), expected);
    assert.equal(chunks.at(-1).choices[0].finish_reason, 'stop');
  });

  test('three requests at once', async () => {
    const ask = (content, rest) => chat({ messages: [{ role: 'user', content }], max_tokens: 4, ...rest });
    const [yes, no, maybe] = await Promise.all([
      ask('Say yes.'),
      collect(ask('Say no.', { stream: true })),
      ask('Say maybe.'),
    ]);
    assert.ok(yes.choices[0].message.content);
    assert.ok(assertChunks(no));
    assert.ok(maybe.choices[0].message.content);
    assert.equal(new Set([yes.id, no[0].id, maybe.id]).size, 3);
  });
});

describe('chat completions, streamed', () => {
  test('the stream adds up to the whole answer', async () => {
    const chunks = await collect(chat({ stream: true }));
    assert.ok(chunks.length > 3);
    const text = assertChunks(chunks);
    assert.ok(text.trim());
    assert.equal((await chat()).choices[0].message.content, text);
  });

  test('include_usage', async () => {
    const chunks = await collect(chat({ stream: true, stream_options: { include_usage: true } }));
    const last = chunks.pop();
    assertChunks(chunks);
    assert.equal(last.id, chunks[0].id);
    assert.deepEqual(last.choices, []);
    assertUsage(last.usage, 12);
  });

  test('the stream helper', async () => {
    const request = { ...greedy, stop: [' '], stream_options: { include_usage: true } };
    const stream = client.chat.completions.stream(request);
    const deltas = [];
    stream.on('content', (delta) => deltas.push(delta));
    const completion = await stream.finalChatCompletion();
    const [choice] = completion.choices;
    assert.ok(choice.message.content);
    assert.equal(deltas.join(''), choice.message.content);
    assert.equal(await stream.finalContent(), choice.message.content);
    assert.equal(choice.message.role, 'assistant');
    assert.equal(choice.finish_reason, 'stop');
    assert.equal(completion.object, 'chat.completion');
    assertUsage(completion.usage, 12);
    assert.equal((await stream.totalUsage()).total_tokens, completion.usage.total_tokens);
  });

  test('another request works after a stream was closed early', async () => {
    const story = { messages: [{ role: 'user', content: 'Write a very long story.' }], max_tokens: 4_000 };
    // Far less than the rest of the story would take.
    const soon = () => chat({ max_tokens: 2 }, { timeout: 30_000 });

    let text = '';
    for await (const chunk of await chat({ ...story, stream: true })) {
      text += chunk.choices[0].delta.content ?? '';
      if (text) break;
    }
    assert.ok(text);
    assert.ok((await soon()).choices[0].message.content);

    const stream = client.chat.completions.stream({ ...greedy, ...story });
    stream.once('content', () => stream.abort());
    await assert.rejects(stream.done(), APIUserAbortError);
    assert.ok((await soon()).choices[0].message.content);
  });
});

describe('completions', () => {
  test('create', async () => {
    const completion = await complete();
    assert.match(completion.id, /^cmpl-/);
    assert.equal(completion.object, 'text_completion');
    assert.equal(completion.model, model);
    assert.equal(completion.choices.length, 1);
    const [choice] = completion.choices;
    assert.equal(choice.index, 0);
    assert.ok(choice.text.trim());
    assert.equal(choice.logprobs, null);
    assert.ok(['stop', 'length'].includes(choice.finish_reason));
    assertUsage(completion.usage, 8);
  });

  test('the stream adds up to the whole answer', async () => {
    const pieces = await collect(complete({ stream: true, stream_options: { include_usage: true } }));
    const last = pieces.pop();
    for (const piece of pieces) {
      assert.equal(piece.object, 'text_completion');
      assert.equal(piece.id, last.id);
      assert.equal(piece.usage, null);
    }
    const choices = pieces.flatMap((piece) => piece.choices);
    assert.equal(choices.map(({ text }) => text).join(''), (await complete()).choices[0].text);
    assert.ok(choices.slice(0, -1).every(({ finish_reason: reason }) => reason === null));
    assert.ok(['stop', 'length'].includes(choices.at(-1).finish_reason));
    assert.deepEqual(last.choices, []);
    assertUsage(last.usage, 8);
  });
});

describe('headers', () => {
  const assertHeaders = (headers) => {
    for (const name of ['x-request-id', 'x-commonwatt-request-id', 'x-commonwatt-node']) {
      assert.match(headers.get(name) ?? '', UUID, name);
    }
  };

  test('of a whole answer', async () => {
    const { data, response, request_id: id } = await chat({ max_tokens: 4 }).withResponse();
    assert.equal(response.status, 200);
    assert.equal(response.headers.get('content-type'), 'application/json');
    assertHeaders(response.headers);
    assert.equal(id, response.headers.get('x-request-id'));
    assert.equal(data._request_id, id);
    assert.equal(Number(response.headers.get('x-energy-joules')), data.usage.energy.joules);
    assert.equal(response.headers.get('x-energy-tier'), data.usage.energy.tier);
  });

  test('of a stream', async () => {
    const { data, response } = await chat({ max_tokens: 4, stream: true }).withResponse();
    assert.equal(response.headers.get('content-type').split(';')[0], 'text/event-stream');
    assertHeaders(response.headers);
    assertChunks(await collect(data));
  });
});

describe('errors', () => {
  async function assertRefused(call, kind, status, code, param) {
    let refusal;
    await assert.rejects(call, (error) => {
      assert.ok(error instanceof APIError, error.stack);
      assert.equal(error.constructor, kind);
      const { status: actual, code: actualCode, param: actualParam, type } = error;
      assert.deepEqual([actual, actualCode, actualParam, type], [status, code, param, 'invalid_request_error']);
      assert.ok(error.error.message);
      assert.match(error.requestID ?? '', UUID);
      refusal = error;
      return true;
    });
    return refusal;
  }
  const refusedAsBad = (call, code, param) => assertRefused(call, BadRequestError, 400, code, param);

  test('a wrong key', async () => {
    const wrong = apiKey.slice(0, -1) + (apiKey.endsWith('a') ? 'b' : 'a');
    const stranger = client.withOptions({ apiKey: wrong });
    const expected = [AuthenticationError, 401, 'invalid_api_key', null];
    const error = await assertRefused(stranger.chat.completions.create(greedy), ...expected);
    assert.ok(!error.message.includes(wrong));
    await assertRefused(collect(stranger.models.list()), ...expected);
  });

  test('an unknown model', async () => {
    const expected = [NotFoundError, 404, 'model_not_found', 'model'];
    await assertRefused(chat({ model: 'no-such-model' }), ...expected);
    await assertRefused(complete({ model: 'no-such-model' }), ...expected);
  });

  test('no messages', () => refusedAsBad(chat({ messages: [] }), 'empty_array', 'messages'));

  test('a choice without tools', () =>
    refusedAsBad(chat({ tool_choice: 'required' }), 'invalid_value', 'tool_choice'));

  test('a temperature out of range', () =>
    refusedAsBad(chat({ temperature: 3 }), 'decimal_above_max_value', 'temperature'));

  test('an unknown field', () => refusedAsBad(chat({ temprature: 0.5 }), 'unknown_parameter', 'temprature'));

  test('a stream is refused as a whole answer is', () =>
    refusedAsBad(chat({ stream: true, top_p: 1.5 }), 'decimal_above_max_value', 'top_p'));

  test('a prompt longer than the context', async () => {
    // A word is a token at least.
    const { context_length: context } = await client.models.retrieve(model);
    const text = 'word '.repeat(context * 1.5);
    await refusedAsBad(chat({ messages: [{ role: 'user', content: text }] }), 'context_length_exceeded', 'messages');
    await refusedAsBad(complete({ prompt: text }), 'context_length_exceeded', 'prompt');
  });
});

describe('responses', () => {
  const asked = { model, input: 'Why is the sky blue?', max_output_tokens: 12, temperature: 0 };

  test('a response is kept until it is deleted', async () => {
    const response = await client.responses.create(asked);
    assert.match(response.id, /^resp_/);
    assert.ok(response.output_text.trim());
    assert.equal(response.usage.total_tokens, response.usage.input_tokens + response.usage.output_tokens);
    const kept = await client.responses.retrieve(response.id);
    assert.deepEqual(kept.output, response.output);
    const items = await client.responses.inputItems.list(response.id);
    assert.equal(items.data[0].content[0].text, asked.input);
    await client.responses.delete(response.id);
    await assert.rejects(client.responses.retrieve(response.id), NotFoundError);
  });

  test('a stream adds up to the whole response', async () => {
    const events = await collect(client.responses.create({ ...asked, stream: true }));
    assert.deepEqual(events.map((event) => event.sequence_number), [...events.keys()]);
    const text = events.filter((event) => event.type === 'response.output_text.delta').map((event) => event.delta);
    const { response } = events.at(-1);
    assert.equal(text.join(''), response.output[0].content[0].text);
    assert.equal(text.join(''), (await client.responses.create(asked)).output_text);
  });

  test('the stream helper gives the final response', async () => {
    const stream = client.responses.stream(asked);
    const kinds = (await collect(stream)).map((event) => event.type);
    assert.equal(kinds[0], 'response.created');
    assert.ok((await stream.finalResponse()).output_text.trim());
  });

  test('a conversation goes on from an id', async () => {
    const { id } = await client.responses.create(asked);
    const next = await client.responses.create({ ...asked, input: 'And at night?', previous_response_id: id });
    assert.equal(next.previous_response_id, id);
    const unknown = client.responses.create({ ...asked, previous_response_id: 'resp_1' });
    await assert.rejects(unknown, (error) => error instanceof BadRequestError && error.code === 'previous_response_not_found');
  });
});

// Vercel's AI SDK with its provider for compatible servers, unmodified, against a running gateway.
//
// `tests/sdk/run vercel` installs the SDK and runs this; BASE_URL, API_KEY and MODEL say which gateway.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import {
  APICallError,
  NoObjectGeneratedError,
  Output,
  RetryError,
  generateObject,
  generateText,
  isStepCount,
  streamObject,
  streamText,
  tool,
} from 'ai';
import { z } from 'zod';

// Its advice, such as that generateObject has a successor, would drown the results.
globalThis.AI_SDK_LOG_WARNINGS = false;

const { BASE_URL: baseURL, API_KEY: apiKey, MODEL: name } = process.env;
const provider = (settings) =>
  createOpenAICompatible({
    name: 'commonwatt',
    baseURL,
    apiKey,
    includeUsage: true,
    supportsStructuredOutputs: true,
    ...settings,
  });
const model = provider()(name);
// Greedy: the same words on every run. No retries: a refusal that the SDK would hide is to be seen.
const greedy = { model, temperature: 0, maxRetries: 0, maxOutputTokens: 12, timeout: 120_000 };
const sky = { ...greedy, prompt: 'Why is the sky blue?' };

async function collect(stream) {
  const all = [];
  for await (const item of stream) all.push(item);
  return all;
}

// What a stream fails with comes as a part of it; it is to be thrown here, not printed.
const stream = (request) => streamText({ onError: () => {}, ...request });

function assertUsage(usage, atMost) {
  assert.ok(usage.inputTokens > 0, `${usage.inputTokens}`);
  assert.ok(usage.outputTokens > 0 && usage.outputTokens <= atMost, `${usage.outputTokens} of ${atMost}`);
  assert.equal(usage.totalTokens, usage.inputTokens + usage.outputTokens);
  assert.equal(usage.raw.energy.tier, 'E');
  assert.match(usage.raw.cost, /^\d+(\.\d+)?$/);
}

describe('text', () => {
  test('whole', async () => {
    const answer = await generateText(sky);
    assert.ok(answer.text.trim());
    assert.equal(answer.finishReason, 'length');
    assert.deepEqual(answer.warnings ?? [], []);
    assert.match(answer.response.id, /^chatcmpl-/);
    assert.equal(answer.response.modelId, name);
    assert.equal(answer.response.headers['x-energy-tier'], 'E');
    assertUsage(answer.usage, 12);
  });

  test('a stream adds up to the whole answer', async () => {
    const { text } = await generateText(sky);
    const streamed = stream(sky);
    const pieces = await collect(streamed.textStream);
    assert.ok(pieces.length > 3, `${pieces}`);
    assert.equal(pieces.join(''), text);
    assert.equal(await streamed.finishReason, 'length');
    assertUsage(await streamed.usage, 12);
  });

  test('a conversation with instructions goes on with the messages that came', async () => {
    const instructions = 'Answer in one sentence.';
    const messages = [{ role: 'user', content: 'Why is it blue?' }];
    const first = await generateText({ ...greedy, instructions, messages });
    messages.push(...first.responseMessages, { role: 'user', content: [{ type: 'text', text: 'Go on.' }] });
    const second = await generateText({ ...greedy, instructions, messages });
    assert.ok(second.text);
    assert.ok(second.usage.inputTokens > first.usage.totalTokens);
  });

  test('settings reach the model', async () => {
    const warm = (seed) => generateText({ ...sky, temperature: 1, topP: 0.9, seed, presencePenalty: 0.5 });
    const [first, again, other] = [await warm(7), await warm(7), await warm(8)];
    assert.equal(again.text, first.text);
    assert.notEqual(other.text, first.text);

    const { text } = await generateText(sky);
    const stop = text.slice(6, 12);
    const stopped = await generateText({ ...sky, stopSequences: [stop] });
    assert.deepEqual([stopped.text, stopped.finishReason], [text.slice(0, text.indexOf(stop)), 'stop']);
  });

  test('a stream that is aborted leaves the way free', async () => {
    const abort = new AbortController();
    const streamed = stream({ ...sky, maxOutputTokens: 4_000, abortSignal: abort.signal });
    const kinds = [];
    for await (const { type } of streamed.stream) {
      kinds.push(type);
      if (type === 'text-delta') abort.abort();
    }
    assert.equal(kinds.at(-1), 'abort');
    // Far less than the rest would take.
    assert.ok((await generateText({ ...sky, maxOutputTokens: 2, timeout: 30_000 })).text);
  });
});

describe('objects', () => {
  const schema = z.object({ name: z.string().max(12), age: z.number().int().min(0).max(99), kind: z.enum(['cat', 'dog']) });
  const request = { ...greedy, prompt: 'Invent a pet.', maxOutputTokens: 120 };

  test('generateObject and streamObject', async () => {
    const { object, finishReason, usage } = await generateObject({ ...request, schema });
    schema.parse(object);
    assert.equal(finishReason, 'stop');
    assertUsage(usage, 120);

    const streamed = streamObject({ ...request, schema });
    const parts = await collect(streamed.partialObjectStream);
    assert.ok(parts.length > 1, JSON.stringify(parts));
    assert.deepEqual(parts.at(-1), object);
    assert.deepEqual(await streamed.object, object);
  });

  test('the output of a text', async () => {
    const output = Output.object({ schema });
    const whole = await generateText({ ...request, output });
    schema.parse(whole.output);
    const streamed = stream({ ...request, output });
    const parts = await collect(streamed.partialOutputStream);
    assert.deepEqual(parts.at(-1), whole.output);
    assert.deepEqual(await streamed.output, whole.output);
  });

  test('arrays and choices', async () => {
    const array = await generateObject({ ...request, output: 'array', schema: z.enum(['red', 'blue']), maxOutputTokens: 60, temperature: 1, seed: 1 }).catch(
      (error) => {
        // An array has no end of its own: one that reached the limit is told from a whole one.
        assert.ok(NoObjectGeneratedError.isInstance(error), error.stack);
        assert.equal(error.finishReason, 'length');
      },
    );
    if (array) assert.ok(array.object.every((colour) => ['red', 'blue'].includes(colour)));
    const choice = await generateObject({ ...request, output: 'enum', enum: ['yes', 'no'] });
    assert.ok(['yes', 'no'].includes(choice.object), choice.object);
  });

  test('one that was cut is told from a whole one', async () => {
    await assert.rejects(generateObject({ ...request, schema, maxOutputTokens: 2 }), (error) => {
      assert.ok(NoObjectGeneratedError.isInstance(error), error.stack);
      assert.equal(error.finishReason, 'length');
      assert.ok(error.usage.outputTokens <= 2);
      return true;
    });
  });

  test('a schema that can not be held to is refused by name', async () => {
    const schema = z.object({ a: z.string().regex(/(?=x)y/) });
    await assert.rejects(generateObject({ ...request, schema }), (error) => {
      assert.ok(APICallError.isInstance(error), error.stack);
      assert.deepEqual([error.statusCode, error.data.error.code], [400, 'invalid_json_schema']);
      return true;
    });
  });
});

describe('tools', () => {
  const inputSchema = z.object({ city: z.enum(['Paris', 'Rome']), days: z.literal([1, 2, 3]) });
  const asked = [];
  const weather = tool({
    description: 'Says how the weather is.',
    inputSchema,
    execute: async (input) => {
      asked.push(input);
      return { weather: 'sunny', degrees: 31 };
    },
  });
  const request = {
    ...greedy,
    prompt: 'What is the weather in Rome?',
    tools: { weather },
    maxOutputTokens: 100,
    // One call, and no other: left to itself, so small a model goes on calling.
    providerOptions: { commonwatt: { parallel_tool_calls: false } },
  };

  function assertCall(call) {
    assert.equal(call.toolName, 'weather');
    assert.match(call.toolCallId, /^call_/);
    assert.ok(!call.invalid && !call.dynamic, JSON.stringify(call));
    inputSchema.parse(call.input);
  }

  test('one is called when it must be, whole and streamed', async () => {
    const toolChoice = 'required';
    const whole = await generateText({ ...request, toolChoice });
    assert.equal(whole.finishReason, 'tool-calls');
    assert.ok(whole.toolCalls.length > 0);
    whole.toolCalls.forEach(assertCall);
    assert.equal(whole.toolResults.length, whole.toolCalls.length);
    assertUsage(whole.usage, 100);

    const streamed = stream({ ...request, toolChoice });
    const parts = await collect(streamed.stream);
    const calls = await streamed.toolCalls;
    calls.forEach(assertCall);
    assert.deepEqual(
      calls.map(({ input }) => input),
      whole.toolCalls.map(({ input }) => input),
    );
    // What came piece by piece under each id is what the call says at its end.
    for (const { toolCallId, input } of calls) {
      const own = parts.filter((part) => part.type === 'tool-input-delta' && part.id === toolCallId);
      assert.deepEqual(JSON.parse(own.map(({ delta }) => delta).join('')), input);
    }
    assert.equal(await streamed.finishReason, 'tool-calls');
  });

  test('one is called by name', async () => {
    const now = tool({ description: 'Says the time.', inputSchema: z.object({}) });
    const named = { ...request, tools: { now, weather }, toolChoice: { type: 'tool', toolName: 'weather' } };
    const { toolCalls, finishReason } = await generateText(named);
    assert.deepEqual([toolCalls.length, finishReason], [1, 'tool-calls']);
    toolCalls.forEach(assertCall);
  });

  test('a tool without parameters', async () => {
    const now = tool({ description: 'Says the time.', inputSchema: z.object({}) });
    const { toolCalls } = await generateText({ ...request, tools: { now }, toolChoice: 'required' });
    for (const { toolName, input } of toolCalls) assert.deepEqual([toolName, input], ['now', {}]);
    assert.ok(toolCalls.length > 0);
  });

  test('with auto it is a call or a text', async () => {
    const free = { ...request, toolChoice: 'auto', maxOutputTokens: 60 };
    const { text, toolCalls, finishReason } = await generateText(free);
    toolCalls.forEach(assertCall);
    assert.equal(finishReason === 'tool-calls', toolCalls.length > 0);
    assert.ok(text || toolCalls.length > 0);

    const streamed = stream(free);
    assert.equal(await streamed.text, text);
    assert.equal((await streamed.toolCalls).length, toolCalls.length);
  });

  test('a loop of steps gives results to the model', async () => {
    const loop = {
      ...request,
      toolChoice: 'required',
      prepareStep: ({ stepNumber }) => (stepNumber > 0 ? { toolChoice: 'none' } : {}),
      stopWhen: isStepCount(3),
    };
    const assertSteps = (steps) => {
      assert.equal(steps.length, 2);
      const [first, second] = steps;
      assert.deepEqual([first.finishReason, first.toolResults[0].output], ['tool-calls', { weather: 'sunny', degrees: 31 }]);
      assert.deepEqual([second.toolCalls, ['stop', 'length'].includes(second.finishReason)], [[], true]);
      assert.ok(second.text.trim());
      // The call and its result are in the second prompt.
      assert.ok(second.usage.inputTokens > first.usage.inputTokens, JSON.stringify([first.usage, second.usage]));
    };
    asked.length = 0;
    const whole = await generateText(loop);
    assertSteps(whole.steps);
    assert.deepEqual(asked, whole.steps[0].toolCalls.map(({ input }) => input));
    const streamed = stream(loop);
    assertSteps(await streamed.steps);
    assert.equal(await streamed.text, whole.text);
  });
});

describe('errors', () => {
  async function refusal(call) {
    let refused;
    await assert.rejects(call, (error) => {
      assert.ok(APICallError.isInstance(error), error.stack);
      refused = error;
      return true;
    });
    const { statusCode, isRetryable, data, message } = refused;
    // The SDK has understood the body, and shows its message.
    assert.equal(message, data.error.message);
    return [statusCode, data.error.code, isRetryable];
  }

  const wrong = provider({ apiKey: 'sk-cw-wrong' })(name);
  const unknown = provider()('no-such-model');

  test('whole', async () => {
    assert.deepEqual(await refusal(generateText({ ...sky, model: wrong })), [401, 'invalid_api_key', false]);
    assert.deepEqual(await refusal(generateText({ ...sky, model: unknown })), [404, 'model_not_found', false]);
    assert.deepEqual(await refusal(generateText({ ...sky, temperature: 3 })), [400, 'decimal_above_max_value', false]);
    const image = { type: 'image', image: new Uint8Array([137, 80, 78, 71, 13, 10, 26, 10]) };
    const messages = [{ role: 'user', content: [image] }];
    assert.deepEqual(await refusal(generateText({ ...greedy, messages })), [400, 'unsupported_content_type', false]);
  });

  test('streamed', async () => {
    const streamed = stream({ ...sky, model: unknown });
    const parts = await collect(streamed.stream);
    const { error } = parts.find(({ type }) => type === 'error');
    assert.deepEqual(await refusal(Promise.reject(error)), [404, 'model_not_found', false]);
  });

  test('without credit it is not tried again', { skip: !process.env.KEY_WITHOUT_CREDIT }, async () => {
    const poor = provider({ apiKey: process.env.KEY_WITHOUT_CREDIT })(name);
    assert.deepEqual(await refusal(generateText({ ...sky, model: poor, maxRetries: 2 })), [402, 'insufficient_quota', false]);
  });

  test('a limit is worth another try', { skip: !process.env.KEY_WITHOUT_REQUESTS }, async () => {
    const limited = provider({ apiKey: process.env.KEY_WITHOUT_REQUESTS })(name);
    assert.deepEqual(await refusal(generateText({ ...sky, model: limited })), [429, 'rate_limit_exceeded', true]);
    await assert.rejects(generateText({ ...sky, model: limited, maxRetries: 1 }), (error) => {
      assert.ok(RetryError.isInstance(error), error.stack);
      assert.equal(error.errors.length, 2);
      return true;
    });
  });
});

test('completions', async () => {
  const request = { ...greedy, model: provider().completionModel(name), prompt: 'The capital of France is' };
  const whole = await generateText(request);
  assert.ok(whole.text.trim());
  const streamed = stream(request);
  assert.equal((await collect(streamed.textStream)).join(''), whole.text);
  assertUsage(await streamed.usage, 12);
});

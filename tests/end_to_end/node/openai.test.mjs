// npm's official OpenAI client against the daemon at EDGED_URL, which has the models that `all_kinds` in conftest.py
// names. Run and reported by test_node_client.py, test by test; their names are read from this file.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { test } from "node:test";

import OpenAI, { AzureOpenAI } from "openai";
import { zodFunction, zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";

const PATIENCE_MS = 25_000; // as PATIENCE_S of daemon_process.py
const url = process.env.EDGED_URL;
const settings = { apiKey: "any", timeout: PATIENCE_MS, maxRetries: 0 };
const client = new OpenAI({ ...settings, baseURL: `${url}/v1` });

const QUESTION = "Shall I take an umbrella?";
const messages = [{ role: "user", content: QUESTION }];
// Closed and finite, so that a model with random weights comes to its end as soon as a grammar leads it.
const Weather = z.object({ city: z.enum(["Oslo", "Roma", "東京"]), days: z.union([z.literal(1), z.literal(2)]) });
const Visit = z.object({ city: z.enum(["Oslo", "Roma"]), byTrain: z.boolean() });
const weather = zodFunction({ name: "weather", description: "The weather to come", parameters: Weather });
const greedy = { model: "tiny", messages, temperature: 0, max_tokens: 16 };
const oneCall = { model: "caller", messages, tools: [weather], parallel_tool_calls: false, max_tokens: 200 };

async function busySlots() {
  const { residents } = await (await fetch(`${url}/edged/v1/status`, { headers: { Authorization: `Bearer ${process.env.EDGED_KEY}` } })).json();
  return residents.reduce((sum, resident) => sum + resident.busy, 0);
}

async function untilIdle() {
  const deadline = Date.now() + PATIENCE_MS;
  while (await busySlots()) {
    assert.ok(Date.now() < deadline, "its slot is never free");
    await sleep(10);
  }
}

test("a stream says what the whole answer says, and counts it", async () => {
  const whole = await client.chat.completions.create(greedy);
  const stream = await client.chat.completions.create({
    ...greedy,
    stream: true,
    stream_options: { include_usage: true },
  });

  let said = "";
  let usage = null;
  for await (const chunk of stream) {
    said += chunk.choices[0]?.delta.content ?? "";
    usage = chunk.usage ?? usage;
  }

  assert.ok(said);
  assert.equal(said, whole.choices[0].message.content);
  assert.equal(whole.choices[0].finish_reason, "length");
  assert.equal(usage.completion_tokens, 16);
  assert.equal(usage.total_tokens, whole.usage.total_tokens);
});

test("the stream helper tells of words as they come and ends with the whole answer", async () => {
  const stream = client.chat.completions.stream({ ...greedy, stream_options: { include_usage: true } });
  let told = "";
  stream.on("content", (delta) => (told += delta));

  const answer = await stream.finalChatCompletion();

  assert.equal(told, answer.choices[0].message.content);
  assert.equal(answer.usage.completion_tokens, 16);
});

test("a tool that must be called is called as its schema says", async () => {
  const { data, response } = await client.chat.completions
    .create({ ...oneCall, tool_choice: "required" })
    .withResponse();

  const [call] = data.choices[0].message.tool_calls;
  assert.equal(call.function.name, "weather");
  Weather.parse(JSON.parse(call.function.arguments));
  assert.equal(data.choices[0].finish_reason, "tool_calls");
  assert.equal(response.headers.get("x-edged-model"), "caller");
});

test("a streamed call is put together by the client", async () => {
  const stream = client.chat.completions.stream({ ...oneCall, tool_choice: "required" });
  let pieces = 0;
  stream.on("tool_calls.function.arguments.delta", () => pieces++);

  const answer = await stream.finalChatCompletion();

  assert.ok(pieces > 1);
  Weather.parse(answer.choices[0].message.tool_calls[0].function.parsed_arguments);
});

test("the tool runner calls the function and hands its result back", async () => {
  const asked = [];
  const runner = client.chat.completions.runTools(
    {
      ...oneCall,
      tools: [
        zodFunction({
          name: "weather",
          parameters: Weather,
          function: async (found) => {
            asked.push(found);
            return "Rain.";
          },
        }),
      ],
      tool_choice: { type: "function", function: { name: "weather" } },
    },
    { maxChatCompletions: 2 },
  );

  await runner.done();

  assert.equal(asked.length, 1);
  Weather.parse(asked[0]);
  assert.deepEqual(
    runner.messages.slice(0, 3).map((message) => message.role),
    ["user", "assistant", "tool"],
  );
});

test("an object of the caller's own schema is parsed, whole and streamed", async () => {
  const asked = { model: "tiny", messages, response_format: zodResponseFormat(Visit, "visit"), max_tokens: 200 };

  const whole = await client.chat.completions.parse(asked);
  const streamed = await client.chat.completions.stream(asked).finalChatCompletion();

  for (const answer of [whole, streamed]) {
    Visit.parse(answer.choices[0].message.parsed);
    assert.equal(answer.choices[0].finish_reason, "stop");
  }
});

test("the Responses API answers, streams, parses and calls", async () => {
  const asked = { model: "tiny", input: QUESTION, temperature: 0, max_output_tokens: 16, store: false };
  const whole = await client.responses.create(asked);
  const events = [];
  for await (const event of await client.responses.create({ ...asked, stream: true })) events.push(event);
  const parsed = await client.responses.parse({
    ...asked,
    max_output_tokens: 200,
    text: { format: zodTextFormat(Visit, "visit") },
  });
  const called = await client.responses.create({
    ...asked,
    model: "caller",
    max_output_tokens: 200,
    parallel_tool_calls: false,
    tool_choice: "required",
    tools: [{ type: "function", name: "weather", parameters: weather.function.parameters, strict: true }],
  });

  assert.ok(whole.output_text);
  assert.equal(
    events
      .filter((event) => event.type === "response.output_text.delta")
      .map((event) => event.delta)
      .join(""),
    whole.output_text,
  );
  assert.equal(events[0].type, "response.created");
  assert.equal(events.at(-1).response.output_text ?? whole.output_text, whole.output_text);
  Visit.parse(parsed.output_parsed);
  const [call] = called.output.filter((item) => item.type === "function_call");
  Weather.parse(JSON.parse(call.arguments));
});

test("vectors come the same as numbers and as the client's own base64", async () => {
  const asked = { model: "bert", input: ["a harbour", "a bridge"] };
  const plain = await client.embeddings.create({ ...asked, encoding_format: "float" });
  const packed = await client.embeddings.create(asked); // this client asks for base64 where nobody says otherwise

  assert.deepEqual(
    plain.data.map((item) => item.index),
    [0, 1],
  );
  plain.data.forEach(({ embedding }, index) => {
    const other = packed.data[index].embedding;
    assert.equal(embedding.length, other.length);
    embedding.forEach((value, place) => assert.ok(Math.abs(value - other[place]) < 1e-6));
  });
});

test("models are listed and told of one by one", async () => {
  const names = [];
  for await (const model of client.models.list()) names.push(model.id);

  assert.equal(names[0], "tiny");
  assert.ok(names.includes("bert"));
  assert.equal((await client.models.retrieve("caller")).id, "caller");
});

test("a completion continues its prompt", async () => {
  const answer = await client.completions.create({ model: "tiny", prompt: "Once upon", max_tokens: 6, echo: true });

  assert.ok(answer.choices[0].text.startsWith("Once upon"));
  assert.equal(answer.usage.completion_tokens, 6);
});

test("refusals come as the client's own errors, also of a stream", async () => {
  await assert.rejects(client.chat.completions.create({ ...greedy, model: "nobody" }), (refused) => {
    assert.ok(refused instanceof OpenAI.NotFoundError);
    assert.equal(refused.code, "model_not_found");
    return true;
  });
  for (const stream of [false, true])
    await assert.rejects(client.chat.completions.create({ ...greedy, stream, colour: "red" }), (refused) => {
      assert.ok(refused instanceof OpenAI.BadRequestError);
      assert.equal(refused.param, "colour");
      return true;
    });
});

test("a client that loses patience frees its place", async () => {
  await assert.rejects(
    client.chat.completions.create({ ...greedy, max_tokens: 4000 }, { timeout: 300 }),
    OpenAI.APIConnectionTimeoutError,
  );

  await untilIdle();
});

test("a stream that is aborted or left frees its place", async () => {
  const endless = { ...greedy, max_tokens: 4000, stream: true };
  const aborted = await client.chat.completions.create(endless);
  for await (const _ of aborted) {
    aborted.controller.abort();
    break;
  }
  const gate = new AbortController();
  const waiting = client.chat.completions.create({ ...endless, stream: false }, { signal: gate.signal });
  setTimeout(() => gate.abort(), 100);

  await assert.rejects(waiting, OpenAI.APIUserAbortError);
  await untilIdle();
});

test("Azure's paths answer as OpenAI's do", async () => {
  const azure = new AzureOpenAI({ ...settings, endpoint: url, apiVersion: "2024-10-21" });
  const whole = await client.chat.completions.create(greedy);

  const answer = await azure.chat.completions.create(greedy);

  assert.equal(answer.choices[0].message.content, whole.choices[0].message.content);
});

// The official OpenAI client, unmodified.

import assert from "node:assert/strict";
import {
  CITY,
  DATA_URL,
  OVERSIZE,
  OpenAI,
  SLOW,
  TOKEN,
  accounted,
  all,
  cancelled,
  countedToken,
  gatewayTest,
  newToken,
  plainTest,
  rejection,
  said,
  unknownToken,
} from "./harness.mjs";

const clientOf = (apiKey = TOKEN, maxRetries = 0) =>
  new OpenAI({ apiKey, baseURL: `${DATA_URL}/v1`, maxRetries, timeout: 30_000 });
const client = clientOf();
const chat = (text, more = {}, using = client) =>
  using.chat.completions.create({ model: "sandbox-1", messages: said(text), ...more });

plainTest("openai: chat, plain", async () => {
  const answer = await chat("Hello there");
  assert.equal(answer.choices[0].message.content, "You said: Hello there");
  assert.equal(answer.choices[0].finish_reason, "stop");
  assert.equal(answer.usage.prompt_tokens, 3);
  assert.equal(answer.usage.completion_tokens, 4);
});

plainTest("openai: chat, streamed with usage", async () => {
  const more = { stream: true, stream_options: { include_usage: true } };
  const chunks = await all(await chat("Hello there", more));
  const text = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");
  assert.equal(text, "You said: Hello there");
  assert.equal(chunks.at(-2).choices[0].finish_reason, "stop");
  assert.equal(chunks.at(-1).usage.completion_tokens, 4);
});

plainTest("openai: chat, streamed without usage asked for", async () => {
  const chunks = await all(await chat("Hello there", { stream: true }));
  assert.ok(chunks.every((chunk) => chunk.choices.length === 1 && !chunk.usage));
});

const TOOLS = ["weather", "time"].map((name) => ({
  type: "function",
  function: { name, parameters: CITY, strict: true },
}));

plainTest("openai: chat, two parallel tool calls and their results", async () => {
  const asked = said("sandbox:tools=2; What is it like in Oslo?");
  const { choices } = await chat("", { messages: asked, tools: TOOLS });
  const { message } = choices[0];
  assert.equal(choices[0].finish_reason, "tool_calls");
  assert.deepEqual(message.tool_calls.map((call) => call.function.name), ["weather", "time"]);
  const results = message.tool_calls.map((call) => {
    assert.equal(JSON.parse(call.function.arguments).city.length, 12);
    return { role: "tool", tool_call_id: call.id, content: "fine" };
  });
  const last = await chat("", { messages: [...asked, message, ...results], tools: TOOLS });
  assert.equal(last.choices[0].message.content, "You said: What is it like in Oslo?");
});

plainTest("openai: chat, tool arguments streamed", async () => {
  const stream = client.chat.completions.stream({
    model: "sandbox-1",
    messages: said("sandbox:tools=2,chunks=5; Rain?"),
    tools: TOOLS,
  });
  let deltas = 0;
  stream.on("tool_calls.function.arguments.delta", () => {
    deltas += 1;
  });
  const calls = (await stream.finalChatCompletion()).choices[0].message.tool_calls;
  assert.deepEqual(calls.map((call) => call.function.name), ["weather", "time"]);
  assert.ok(calls.every((call) => JSON.parse(call.function.arguments).city.length === 12));
  assert.ok(deltas >= 10, `${deltas} deltas`);
});

plainTest("openai: chat, JSON schema out", async () => {
  const format = { type: "json_schema", json_schema: { name: "city", schema: CITY, strict: true } };
  const answer = await chat("Where?", { response_format: format });
  assert.equal(JSON.parse(answer.choices[0].message.content).city.length, 12);
});

plainTest("openai: completions, plain and streamed", async () => {
  const short = await client.completions.create({ model: "sandbox-1", prompt: "Hello", max_tokens: 2 });
  assert.equal(short.choices[0].text, "You said:");
  assert.equal(short.choices[0].finish_reason, "length");
  const stream = await client.completions.create({ model: "sandbox-1", prompt: "Hello", stream: true });
  const text = (await all(stream)).map((chunk) => chunk.choices[0].text).join("");
  assert.equal(text, "You said: Hello");
});

plainTest("openai: embeddings", async () => {
  const answer = await client.embeddings.create({ model: "sandbox-embed", input: ["Hello", "World"] });
  assert.deepEqual(answer.data.map((item) => item.embedding.length), [64, 64]);
  const length = answer.data[0].embedding.reduce((sum, x) => sum + x * x, 0);
  assert.ok(Math.abs(length - 1) < 1e-5, `${length}`);
});

plainTest("openai: responses, plain", async () => {
  const answer = await client.responses.create({ model: "sandbox-1", input: "Hello" });
  assert.equal(answer.output_text, "You said: Hello");
  assert.equal(answer.status, "completed");
  assert.equal(answer.usage.output_tokens, 3);
});

plainTest("openai: responses, streamed with thinking", async () => {
  const stream = client.responses.stream({ model: "sandbox-think", input: "Hello" });
  const events = await all(stream);
  const deltas = events.filter((event) => event.type === "response.output_text.delta");
  assert.equal(deltas.map((event) => event.delta).join(""), "You said: Hello");
  assert.equal(events.at(-1).type, "response.completed");
  const final = await stream.finalResponse();
  assert.equal(final.usage.output_tokens_details.reasoning_tokens, 6);
});

plainTest("openai: responses, two parallel tool calls streamed", async () => {
  const tools = TOOLS.map((tool) => ({ type: "function", ...tool.function }));
  const input = said("sandbox:tools=2,chunks=3; Rain?");
  const stream = client.responses.stream({ model: "sandbox-1", input, tools });
  const calls = (await stream.finalResponse()).output;
  assert.deepEqual(calls.map((call) => call.name), ["weather", "time"]);
  assert.ok(calls.every((call) => JSON.parse(call.arguments).city.length === 12));
});

plainTest("openai: models", async () => {
  const names = (await all(client.models.list())).map((model) => model.id);
  for (const name of ["sandbox-1", "sandbox-embed", "sandbox-think"]) assert.ok(names.includes(name));
  assert.equal((await client.models.retrieve("sandbox-1")).id, "sandbox-1");
  const error = await rejection(OpenAI.NotFoundError, () => client.models.retrieve("no-such-model"));
  assert.equal(error.code, "model_not_found");
});

gatewayTest("openai: a wrong key is refused the same way whatever is wrong with it", async () => {
  const bodies = [];
  for (const key of [unknownToken(), "sk-not-a-token"]) {
    const call = () => chat("Hello", {}, clientOf(key));
    const error = await rejection(OpenAI.AuthenticationError, call);
    assert.equal(error.status, 401);
    assert.equal(error.code, "invalid_api_key");
    bodies.push(error.error);
  }
  assert.deepEqual(bodies[0], bodies[1]);
});

gatewayTest("openai: a token's rate limit, and the client that waits for it", async () => {
  const token = await newToken({ requests_per_second: 1, burst: 1 });
  const hasty = clientOf(token);
  await chat("Hello", {}, hasty);
  const error = await rejection(OpenAI.RateLimitError, () => chat("Hello", {}, hasty));
  assert.equal(error.code, "rate_limit_exceeded");
  assert.ok(Number(error.headers.get("retry-after")) >= 1);
  const started = Date.now();
  const patient = await chat("Hello", {}, clientOf(token, 3));
  assert.equal(patient.choices[0].message.content, "You said: Hello");
  assert.ok(Date.now() - started > 100, "it did not wait");
});

gatewayTest("openai: a body over the limit is refused", async () => {
  const error = await rejection(OpenAI.APIError, () => chat(OVERSIZE));
  assert.equal(error.status, 413);
  assert.equal(error.code, "request_too_large");
});

plainTest("openai: cancelling a stream lets it go everywhere", async () => {
  await cancelled(() => chat(SLOW, { stream: true }));
});

plainTest("openai: a stream that fails in the middle throws", async () => {
  const read = async (text) => all(await chat(text, { stream: true }));
  await rejection(OpenAI.APIError, () => read("sandbox:error_after=2; One two three"));
  await rejection(Error, () => read("sandbox:cut_after=2; One two three"));
});

plainTest("openai: a streamed response that fails in the middle says so", async () => {
  const input = "sandbox:error_after=2; One two three";
  const stream = await client.responses.create({ model: "sandbox-1", input, stream: true });
  const last = (await all(stream)).at(-1);
  assert.equal(last.type, "response.failed");
  assert.equal(last.response.error.code, "server_error");
});

plainTest("openai: upstream errors arrive as the client's typed errors", async () => {
  for (const [status, kind] of [
    [400, OpenAI.BadRequestError],
    [422, OpenAI.UnprocessableEntityError],
    [404, OpenAI.NotFoundError],
    [429, OpenAI.RateLimitError],
    [500, OpenAI.InternalServerError],
    [503, OpenAI.InternalServerError],
  ]) {
    const call = () => chat(`sandbox:status=${status},retry_after=3; Hello`);
    const error = await rejection(kind, call);
    assert.ok(error.error.message, `${status}`);
    if (status === 429) assert.ok(Number(error.headers.get("retry-after")) >= 1);
  }
  const unknown = () => chat("Hello", { model: "no-such-model" });
  assert.equal((await rejection(OpenAI.NotFoundError, unknown)).code, "model_not_found");
});

// LED acceptance 4
gatewayTest("openai: what a client is told is what record and receipt say", async () => {
  const token = await countedToken();
  const using = clientOf(token);
  const check = (response, told) => accounted(token, response.headers.get("x-request-id"), told);
  const toldOf = (usage) => [usage.prompt_tokens, usage.completion_tokens ?? 0];
  for (const model of ["sandbox-1", "sandbox-think"]) {
    const plain = await chat("Hello there", { model }, using).withResponse();
    await check(plain.response, toldOf(plain.data.usage));
    const more = { model, stream: true, stream_options: { include_usage: true } };
    const streamed = await chat("Hello there", more, using).withResponse();
    await check(streamed.response, toldOf((await all(streamed.data)).at(-1).usage));
  }
  for (const stream of [false, true]) {
    const asked = { model: "sandbox-1", input: "Hello there", stream };
    const { data, response } = await using.responses.create(asked).withResponse();
    const { usage } = stream ? (await all(data)).at(-1).response : data;
    await check(response, [usage.input_tokens, usage.output_tokens]);
  }
  const asked = { model: "sandbox-embed", input: "Hello there" };
  const { data, response } = await using.embeddings.create(asked).withResponse();
  await check(response, toldOf(data.usage));
});

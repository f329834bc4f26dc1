// The official Anthropic client, unmodified.

import assert from "node:assert/strict";
import {
  Anthropic,
  CITY,
  DATA_URL,
  OVERSIZE,
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
  new Anthropic({ apiKey, authToken: null, baseURL: DATA_URL, maxRetries, timeout: 30_000 });
const client = clientOf();
const asked = (text, more = {}) => ({
  model: "sandbox-1",
  max_tokens: 1024,
  messages: said(text),
  ...more,
});
const ask = (text, more = {}, using = client) => using.messages.create(asked(text, more));

plainTest("anthropic: messages, plain", async () => {
  const answer = await ask("Hello there", { system: "Be kind" });
  assert.equal(answer.content[0].text, "You said: Hello there");
  assert.equal(answer.stop_reason, "end_turn");
  assert.equal(answer.usage.input_tokens, 5);
  assert.equal(answer.usage.output_tokens, 4);
});

plainTest("anthropic: messages, streamed", async () => {
  const stream = client.messages.stream(asked("Hello there"));
  let text = "";
  stream.on("text", (delta) => {
    text += delta;
  });
  const final = await stream.finalMessage();
  assert.equal(text, "You said: Hello there");
  assert.equal(final.content[0].text, text);
  assert.equal(final.usage.output_tokens, 4);
  const kinds = (await all(await ask("Hello", { stream: true }))).map((event) => event.type);
  assert.equal(kinds[0], "message_start");
  assert.deepEqual(kinds.slice(-2), ["message_delta", "message_stop"]);
});

const TOOLS = ["weather", "time"].map((name) => ({ name, description: name, input_schema: CITY }));

plainTest("anthropic: messages, two parallel tool calls and their results", async () => {
  const first = said("sandbox:tools=2; What is it like in Oslo?");
  const answer = await ask("", { messages: first, tools: TOOLS });
  assert.equal(answer.stop_reason, "tool_use");
  assert.deepEqual(answer.content.map((block) => block.name), ["weather", "time"]);
  const results = answer.content.map((block) => {
    assert.equal(block.input.city.length, 12);
    return { type: "tool_result", tool_use_id: block.id, content: "fine" };
  });
  const turns = [
    { role: "assistant", content: answer.content },
    { role: "user", content: results },
  ];
  const last = await ask("", { messages: [...first, ...turns], tools: TOOLS });
  assert.equal(last.content[0].text, "You said: What is it like in Oslo?");
});

plainTest("anthropic: messages, tool arguments streamed", async () => {
  const stream = client.messages.stream(asked("sandbox:tools=2,chunks=5; Rain?", { tools: TOOLS }));
  let deltas = 0;
  stream.on("inputJson", () => {
    deltas += 1;
  });
  const blocks = (await stream.finalMessage()).content;
  assert.deepEqual(blocks.map((block) => block.name), ["weather", "time"]);
  assert.ok(blocks.every((block) => block.input.city.length === 12));
  assert.ok(deltas >= 10, `${deltas} deltas`);
});

plainTest("anthropic: messages, thinking and a second turn with it", async () => {
  const thinks = { type: "enabled", budget_tokens: 1024 };
  const more = { model: "sandbox-think", max_tokens: 2048, thinking: thinks };
  const first = await client.messages.stream(asked("Hello", more)).finalMessage();
  assert.deepEqual(first.content.map((block) => block.type), ["thinking", "text"]);
  assert.ok(first.content[0].signature);
  const turns = [{ role: "assistant", content: first.content }, ...said("Again")];
  const second = await ask("", { ...more, messages: [...said("Hello"), ...turns] });
  assert.equal(second.content.at(-1).text, "You said: Again");
});

plainTest("anthropic: count_tokens", async () => {
  const counted = await client.messages.countTokens({
    model: "sandbox-1",
    system: "Be kind",
    messages: said("Hello there"),
  });
  assert.equal(counted.input_tokens, 5);
});

plainTest("anthropic: models", async () => {
  const names = (await all(client.models.list())).map((model) => model.id);
  for (const name of ["sandbox-1", "sandbox-think"]) assert.ok(names.includes(name));
  const paged = (await all(client.models.list({ limit: 1 }))).map((model) => model.id);
  assert.deepEqual(paged, names);
  assert.equal((await client.models.retrieve("sandbox-1")).type, "model");
  const unknown = () => client.models.retrieve("no-such-model");
  const error = await rejection(Anthropic.NotFoundError, unknown);
  assert.equal(error.error.error.type, "not_found_error");
});

gatewayTest("anthropic: a wrong key is refused the same way whatever is wrong with it", async () => {
  const bodies = [];
  for (const key of [unknownToken(), "sk-ant-not-a-token"]) {
    const call = () => ask("Hello", {}, clientOf(key));
    const error = await rejection(Anthropic.AuthenticationError, call);
    assert.equal(error.status, 401);
    bodies.push(error.error.error);
  }
  assert.equal(bodies[0].type, "authentication_error");
  assert.deepEqual(bodies[0], bodies[1]);
});

gatewayTest("anthropic: a bearer token is as good as an x-api-key", async () => {
  const holder = new Anthropic({ authToken: TOKEN, apiKey: null, baseURL: DATA_URL, maxRetries: 0 });
  assert.equal((await ask("Hello", {}, holder)).content[0].text, "You said: Hello");
});

gatewayTest("anthropic: a token's rate limit, and the client that waits for it", async () => {
  const token = await newToken({ requests_per_second: 1, burst: 1 });
  const hasty = clientOf(token);
  await ask("Hello", {}, hasty);
  const error = await rejection(Anthropic.RateLimitError, () => ask("Hello", {}, hasty));
  assert.equal(error.error.error.type, "rate_limit_error");
  assert.ok(Number(error.headers.get("retry-after")) >= 1);
  const started = Date.now();
  const patient = await ask("Hello", {}, clientOf(token, 3));
  assert.equal(patient.content[0].text, "You said: Hello");
  assert.ok(Date.now() - started > 100, "it did not wait");
});

gatewayTest("anthropic: a body over the limit is refused", async () => {
  const error = await rejection(Anthropic.APIError, () => ask(OVERSIZE));
  assert.equal(error.status, 413);
  assert.equal(error.error.error.type, "request_too_large");
});

plainTest("anthropic: cancelling a stream lets it go everywhere", async () => {
  await cancelled(() => ask(SLOW, { stream: true }));
});

plainTest("anthropic: a stream that fails in the middle throws", async () => {
  const read = async (text) => all(await ask(text, { stream: true }));
  const error = await rejection(Anthropic.APIError, () => read("sandbox:error_after=2; One two"));
  assert.ok(error.error.error.message);
  await rejection(Error, () => read("sandbox:cut_after=2; One two three"));
});

plainTest("anthropic: upstream errors arrive as the client's typed errors", async () => {
  for (const [status, kind] of [
    [400, Anthropic.BadRequestError],
    [422, Anthropic.UnprocessableEntityError],
    [404, Anthropic.NotFoundError],
    [429, Anthropic.RateLimitError],
    [500, Anthropic.InternalServerError],
    [529, Anthropic.InternalServerError],
  ]) {
    const call = () => ask(`sandbox:status=${status},retry_after=3; Hello`);
    const error = await rejection(kind, call);
    assert.equal(error.error.type, "error", `${status}`);
    if (status === 429) assert.ok(Number(error.headers.get("retry-after")) >= 1);
  }
  const unknown = () => ask("Hello", { model: "no-such-model" });
  const error = await rejection(Anthropic.NotFoundError, unknown);
  assert.equal(error.error.error.type, "not_found_error");
});

// LED acceptance 4
gatewayTest("anthropic: what a client is told is what record and receipt say", async () => {
  const token = await countedToken();
  const using = clientOf(token);
  for (const model of ["sandbox-1", "sandbox-think"]) {
    const more = { model, max_tokens: 2048 };
    const plain = await ask("Hello there", more, using).withResponse();
    const { usage } = plain.data;
    const request = (response) => response.headers.get("x-request-id");
    await accounted(token, request(plain.response), [usage.input_tokens, usage.output_tokens]);
    const streamed = await ask("Hello there", { ...more, stream: true }, using).withResponse();
    const events = new Map((await all(streamed.data)).map((event) => [event.type, event]));
    await accounted(token, request(streamed.response), [
      events.get("message_start").message.usage.input_tokens,
      events.get("message_delta").usage.output_tokens,
    ]);
  }
});

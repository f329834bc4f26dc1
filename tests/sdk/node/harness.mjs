// The target, the clients, and what a case may ask of the gateway besides its client.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import path from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { crc32 } from "./crc32.mjs";

// The packages stand in the cache folder that setup.sh filled, not beside this file.
const cache = process.env.TOLLKEEP_SDK_CACHE;
const require = createRequire(cache ? path.resolve(cache, "node", "package.json") : import.meta.url);

export const { OpenAI } = require("openai");
export const { Anthropic } = require("@anthropic-ai/sdk");

export const DIRECT = process.argv.includes("--direct");
const target = JSON.parse(process.env.TOLLKEEP_DEMO);
export const DATA_URL = target.data_url.replace(/\/$/, "");
export const TOKEN = target.token ?? "tok-none";

/** A case that needs the gateway: skipped when the target is the sandbox upstream itself. */
export function gatewayTest(title, run) {
  test(title, { skip: DIRECT && "gateway only", timeout: 30_000 }, run);
}

/** A case. */
export function plainTest(title, run) {
  test(title, { timeout: 30_000 }, run);
}

/** The error of this kind that the call must reject with. */
export async function rejection(kind, call) {
  try {
    const got = await call();
    assert.fail(`want ${kind.name}, got ${JSON.stringify(got)}`);
  } catch (error) {
    if (error.code === "ERR_ASSERTION") throw error;
    assert.ok(error instanceof kind, `want ${kind.name}, got ${error?.constructor?.name}: ${error}`);
    return error;
  }
}

/** All items of an asynchronous iterable. */
export async function all(items) {
  const list = [];
  for await (const item of items) list.push(item);
  return list;
}

/** What the management API answers: to a body that is posted, else to a question. */
async function managed(path, body) {
  const answer = await fetch(`${target.management_url.replace(/\/$/, "")}/api/v1/${path}`, {
    method: body ? "POST" : "GET",
    headers: {
      authorization: `Bearer ${target.management_key}`,
      "content-type": "application/json",
    },
    body: body && JSON.stringify(body),
  });
  assert.ok(answer.ok, `${path}: ${answer.status}`);
  return answer.json();
}

/** The secret of a new token with these limits. */
export async function newToken(limits) {
  return (await managed("tokens", { project: "default", limits })).secret;
}

/** The secret of a new token whose calls a budget counts. */
export async function countedToken() {
  const { id, secret } = await managed("tokens", { project: "default" });
  const scope = { token: id };
  await managed("budgets", { name: id, scope, unit: "tokens", limit: 1e9, window: "day" });
  return secret;
}

/** Asserts that usage record and receipt of a request say what its client was told: the tokens in
 * and out. */
export async function accounted(secret, request, told) {
  const url = `${DATA_URL}/.well-known/tollkeep/receipts/${request}`;
  let receipts = [];
  await waitFor("the receipt is made", async () => {
    const answer = await fetch(url, { headers: { authorization: `Bearer ${secret}` } });
    if (answer.status !== 404) ({ receipts } = await answer.json());
    return receipts.length > 0;
  }, 10_000);
  const { data: records } = await managed(`usage/records?request=${request}`);
  assert.deepEqual([receipts.length, records.length], [1, 1]);
  const receipt = JSON.parse(Buffer.from(receipts[0].split(".")[1], "base64url"));
  const lines = JSON.parse(records[0].lines);
  assert.deepEqual(receipt.lines, lines);
  assert.deepEqual([receipt.quality, records[0].quality], ["reported", "reported"]);
  assert.equal(receipt.cost.amount, records[0].cost_nano_usd);
  const used = lines.flatMap((line) => Object.entries(line.usage));
  const sumOf = (pattern) =>
    used.filter(([name]) => pattern.test(name)).reduce((sum, [, count]) => sum + count, 0);
  assert.deepEqual([sumOf(/^(in|cache)_/), sumOf(/^out_/)], told);
  assert.equal(records[0].tokens, told[0] + told[1]);
}

/** A token with the right form and check digits that no gateway has minted. */
export function unknownToken() {
  const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  const body = `tok-Unknown${"0".repeat(36)}`;
  let check = crc32(body);
  let digits = "";
  for (let i = 0; i < 6; i += 1) {
    digits = alphabet[check % 62] + digits;
    check = Math.floor(check / 62);
  }
  return body + digits;
}

/** How many streams the gateway says are open. */
async function streamsOpen() {
  const text = await (await fetch(target.metrics_url)).text();
  const samples = text.split("\n").filter((line) => line.startsWith("tollkeep_streams_open"));
  assert.ok(samples.length > 0, "there is no metric tollkeep_streams_open");
  return samples.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" "))), 0);
}

async function waitFor(what, condition, ms) {
  const deadline = Date.now() + ms;
  while (!(await condition())) {
    assert.ok(Date.now() < deadline, `${what}: not within ${ms} ms`);
    await sleep(20);
  }
}

/** Reads the start of a slow stream, aborts it, and waits until the gateway has let it go too. */
export async function cancelled(openStream) {
  const stream = await openStream();
  const events = stream[Symbol.asyncIterator]();
  for (let i = 0; i < 2; i += 1) assert.equal((await events.next()).done, false);
  if (!DIRECT) await waitFor("the stream is counted", async () => (await streamsOpen()) >= 1, 2000);
  stream.controller.abort();
  await events.return?.();
  if (!DIRECT) await waitFor("the stream is let go", async () => (await streamsOpen()) === 0, 2000);
}

export const SLOW = "sandbox:chunks=300,gap=100; A long story";
export const OVERSIZE = "x".repeat(21 * 1024 * 1024);
export const CITY = {
  type: "object",
  properties: { city: { type: "string", minLength: 12 } },
  required: ["city"],
  additionalProperties: false,
};

/** A conversation of one user text. */
export const said = (text) => [{ role: "user", content: text }];

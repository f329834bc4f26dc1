// Every vector gets its verdict, and its reason: node --test

import assert from "node:assert/strict";
import { createHmac, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";
import test from "node:test";

import { Refused, Verifier, verifyBolthub } from "./tollkeep-origin.mjs";

const vectors = JSON.parse(readFileSync(new URL("../vectors.json", import.meta.url)));

function reasonOf(check) {
  try {
    check();
  } catch (error) {
    if (error instanceof Refused) return error.reason;
    throw error;
  }
  return null;
}

function v1(c, signature = c.signature_header, options = {}) {
  const { method, authority, target, headers, body_b64 } = c.received;
  const verifier = new Verifier(c.keys, options);
  const fields = [...Object.entries(headers).flat(), "X-Tollkeep-Signature", signature];
  const body = Buffer.from(body_b64, "base64");
  const check = () => verifier.verify({ method, authority, target, fields, body, now: c.verify_at });
  c.seen_nonces.forEach(check);
  return reasonOf(check);
}

test("v1", () => {
  assert.equal(vectors.tollkeep_v1.cases.length, 27);
  for (const c of vectors.tollkeep_v1.cases) assert.equal(v1(c), c.reason, c.name);
});

test("v1 has one form", () => {
  const c = vectors.tollkeep_v1.cases[3];
  const good = c.signature_header;
  for (const [old, fresh] of [
    [",n=", ", n="],
    ["t=1795312800,n=", "n=1795312800,t="],
    [",v1=", ",x=1,v1="],
    ["t=1", "t=01"],
    ["n=A", "n=AA"],
    ["k=k2026a", "k="],
    ["h=content-type", "h=Content-Type"],
    ["h=content-type;x-request-id", "h=x-request-id;content-type"],
    ["h=content-type;", "h=content-type;content-type;"],
    ["b=0b", "b=0B"],
  ]) {
    const bad = good.replace(old, fresh);
    assert.notEqual(bad, good);
    assert.equal(v1(c, bad), "malformed", bad);
  }
  assert.equal(v1(c, `${good}\n`), "malformed");
  assert.equal(v1(c, good, { noncesMax: 0 }), "replayed");
});

test("bolthub", () => {
  assert.equal(vectors.bolthub.cases.length, 24);
  for (const c of vectors.bolthub.cases) {
    const fields = Object.entries(c.headers).flat();
    const body = Buffer.from(c.body_b64, "base64");
    const { secrets, method, verifier_path: path, verify_at_ms: nowMs } = c;
    const reason = reasonOf(() => verifyBolthub({ secrets, method, path, fields, body, nowMs }));
    assert.equal(reason === null, c.valid, `${c.name}: ${reason}`);
  }
});

// The rule of @bolthub/verify 0.1.2, which no registry has: text in, text compared.
function boltVerify({ method, path, body, headers, secrets, now }) {
  const header = (name) => headers[`X-Gateway-${name}`];
  const [signature, timestamp, nonce] = [header("Signature"), header("Timestamp"), header("Nonce")];
  if (!signature || !timestamp || !nonce) return false;
  const age = now - parseInt(timestamp, 10);
  if (Number.isNaN(age) || age > 30_000 || age < 0) return false;
  const payload = `${method}\n${path}\n${timestamp}\n${nonce}\n${body}`;
  return secrets.some((secret) => {
    const expected = Buffer.from(createHmac("sha256", secret).update(payload).digest("hex"));
    const given = Buffer.from(signature);
    return expected.length === given.length && timingSafeEqual(expected, given);
  });
}

test("bolthub vectors by the rule of @bolthub/verify 0.1.2", () => {
  for (const c of vectors.bolthub.cases) {
    const body = Buffer.from(c.body_b64, "base64").toString("utf8");
    const { method, verifier_path: path, headers, secrets, verify_at_ms: now } = c;
    assert.equal(boltVerify({ method, path, body, headers, secrets, now }), c.valid, c.name);
  }
});

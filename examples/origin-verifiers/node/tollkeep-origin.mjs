// Checks at an origin that a request came through the gateway unchanged.
//
// Needs Node.js 18 and nothing else: copy this file. `Verifier` checks `X-Tollkeep-Signature`,
// `verifyBolthub` checks `X-Gateway-Signature`. Give both the request as it was received: the raw
// body, and the target before anything was decoded. Both throw `Refused`.

import { createHash, createHmac, timingSafeEqual } from "node:crypto";

// How far the clocks may be apart, and how late a request may come.
const FRESH_S = 300;
// How long a nonce is remembered at least: longer than a signature is fresh, on either side.
const REMEMBERED_S = 600;
// Nonces remembered, twice, before requests are refused for want of room.
const NONCES_MAX = 1_000_000;
const VALUE_CHARS_MAX = 8 * 1024;

const NAME = "[a-z0-9!#$%&'*+.^_`|~-]+";
const FORM = new RegExp(
  "^t=(0|[1-9][0-9]{0,14}),n=([A-Za-z0-9_-]{22}),k=([A-Za-z0-9._-]{1,64})," +
    `b=([0-9a-f]{64}|UNSIGNED),h=((?:${NAME}(?:;${NAME})*)?),v1=([0-9a-f]{64})$`,
);

// The request is not to be trusted. `reason` is for your log, not for the caller.
export class Refused extends Error {
  constructor(reason) {
    super(reason);
    this.reason = reason;
  }
}

// The one value of a field, or undefined. `fields` is `request.rawHeaders`: names and values in
// turn. (`request.headers` hides a field that came twice.)
function one(fields, name) {
  const values = fields.filter((_, at) => at % 2 === 1 && fields[at - 1].toLowerCase() === name);
  return values.length === 1 ? values[0] : undefined;
}

function equal(made, given) {
  const [a, b] = [Buffer.from(made), Buffer.from(given)];
  return a.length === b.length && timingSafeEqual(a, b);
}

// Keeps the keys (`{id: secret}`), and remembers what it has seen.
export class Verifier {
  #keys;
  #newer = new Set();
  #older = new Set();
  #began = 0;
  #noncesMax;

  constructor(keys, { noncesMax = NONCES_MAX } = {}) {
    this.#keys = new Map(Object.entries(keys));
    this.#noncesMax = noncesMax;
  }

  // Returns the id of the key that signed the request. `authority` is the value of Host, `target`
  // is `request.url`, `fields` is `request.rawHeaders`, `body` a Buffer.
  verify({ method, authority, target, fields, body, now = Math.floor(Date.now() / 1000) }) {
    const value = one(fields, "x-tollkeep-signature") ?? "";
    const read = value.length <= VALUE_CHARS_MAX ? FORM.exec(value) : null;
    if (!read) throw new Refused("malformed");
    const [, signedAt, nonce, key, bodyHash, names, tag] = read;
    const covered = names === "" ? [] : names.split(";");
    if (covered.some((name, at) => at > 0 && covered[at - 1] >= name)) throw new Refused("malformed");
    if (Math.abs(Number(signedAt) - now) > FRESH_S) throw new Refused("stale");
    const secret = this.#keys.get(key);
    if (secret === undefined) throw new Refused("unknown_key");
    if (bodyHash !== "UNSIGNED") {
      const made = createHash("sha256").update(body).digest("hex");
      if (!equal(made, bodyHash)) throw new Refused("body_mismatch");
    }
    const mark = target.indexOf("?");
    const [path, query] = mark < 0 ? [target, ""] : [target.slice(0, mark), target.slice(mark + 1)];
    const lines = ["TOLLKEEP-ORIGIN-V1", key, signedAt, nonce, method, authority, path, query, bodyHash, names];
    for (const name of covered) {
      const received = one(fields, name);
      if (received === undefined) throw new Refused("mismatch");
      lines.push(`${name}:${received}`);
    }
    // Node reads fields as Latin-1: this gives the bytes that were sent.
    const canonical = Buffer.from(lines.join("\n"), "latin1");
    const made = createHmac("sha256", secret).update(canonical).digest("hex");
    if (!equal(made, tag)) throw new Refused("mismatch");
    if (!this.#take(`${key}:${nonce}`, now)) throw new Refused("replayed");
    return key;
  }

  // Remembers a nonce in two generations; false if it was seen, or there is no room.
  #take(nonce, now) {
    const age = now - this.#began;
    if (age >= REMEMBERED_S) {
      this.#older = age < 2 * REMEMBERED_S ? this.#newer : new Set();
      [this.#newer, this.#began] = [new Set(), now];
    }
    if (this.#older.has(nonce) || this.#newer.has(nonce) || this.#newer.size >= this.#noncesMax) return false;
    this.#newer.add(nonce);
    return true;
  }
}

// Throws unless one of the secrets signed the request. `path` has the form that the gateway signs
// (`path_form`): raw, or percent-decoded, without query. This form leaves query, authority and
// other fields open, and remembers nothing.
export function verifyBolthub({ secrets, method, path, fields, body, nowMs = Date.now() }) {
  const [signedAt, nonce, tag] = ["timestamp", "nonce", "signature"].map(
    (name) => one(fields, `x-gateway-${name}`) ?? "",
  );
  if (!/^[0-9]{1,15}$/.test(signedAt) || nonce === "" || tag === "") throw new Refused("malformed");
  const age = nowMs - Number(signedAt);
  if (age < 0 || age > 30_000) throw new Refused("stale");
  const fits = secrets.filter(Boolean).some((secret) => {
    const made = createHmac("sha256", secret).update(`${method}\n${path}\n${signedAt}\n${nonce}\n`);
    return equal(made.update(body).digest("hex"), tag);
  });
  if (!fits) throw new Refused("mismatch");
}

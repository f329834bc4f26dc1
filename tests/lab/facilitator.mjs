// The reference facilitator on the chain of the bench, with switches for faults.
//
//   FACILITATOR_KEY=0x… node facilitator.mjs --port PORT --rpc URL
//
// Besides /supported, /verify and /settle:
//   POST /fault {op, kind, count, ms}   the next `count` calls of `op` go wrong so; see FAULTS
//   POST /calls                         how often each was called since the last time this was asked without {peek: true}
import { createServer } from "node:http";
import { parseArgs } from "node:util";
import { x402Facilitator } from "@x402/core/facilitator";
import { toFacilitatorEvmSigner } from "@x402/evm";
import { ExactEvmScheme } from "@x402/evm/exact/facilitator";
import { ExactEvmSchemeV1 } from "@x402/evm/exact/v1/facilitator";
import { UptoEvmScheme } from "@x402/evm/upto/facilitator";
import { createWalletClient, http, nonceManager, publicActions } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { baseSepolia } from "viem/chains";

const BODY_BYTES_MAX = 256 * 1024;
const STRANGER = "0x00000000000000000000000000000000000000aa";

const { values } = parseArgs({ options: { port: { type: "string" }, rpc: { type: "string" } } });

// Settlements at once would take the same number of transaction without a manager of them.
const account = privateKeyToAccount(process.env.FACILITATOR_KEY, { nonceManager });
const wallet = createWalletClient({
  account,
  chain: baseSepolia,
  pollingInterval: 200,
  transport: http(values.rpc),
}).extend(publicActions);
const signer = toFacilitatorEvmSigner({
  address: account.address,
  readContract: (args) => wallet.readContract({ ...args, args: args.args ?? [] }),
  verifyTypedData: (args) => wallet.verifyTypedData(args),
  writeContract: (args) => wallet.writeContract({ ...args, args: args.args ?? [] }),
  sendTransaction: (args) => wallet.sendTransaction(args),
  waitForTransactionReceipt: (args) => wallet.waitForTransactionReceipt(args),
  getCode: (args) => wallet.getCode(args),
});
const facilitator = new x402Facilitator();
facilitator.register("eip155:84532", new ExactEvmScheme(signer));
facilitator.register("eip155:84532", new UptoEvmScheme(signer));
facilitator.registerV1("base-sepolia", new ExactEvmSchemeV1(signer));

const OPERATIONS = {
  supported: async () => facilitator.getSupported(),
  verify: (call) => facilitator.verify(call.paymentPayload, call.paymentRequirements),
  settle: (call) => facilitator.settle(call.paymentPayload, call.paymentRequirements),
};

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const ok = (body) => ({ status: 200, text: JSON.stringify(body) });

// What is answered to a settlement of this proof from now on.
const settled = new Map();
const payerOf = ({ paymentPayload: { payload } = {} }) =>
  (payload?.authorization ?? payload?.permit2Authorization)?.from;
const proofOf = (call) => call.paymentPayload?.payload?.signature;

// Each does what was asked, or doesn't, and answers; `null` is a connection that is cut.
const FAULTS = {
  slow: async (act, call, fault) => {
    await pause(fault.ms);
    return ok(await act(call));
  },
  late: async (act, call, fault) => {
    const answer = await act(call);
    await pause(fault.ms);
    return ok(answer);
  },
  500: async () => ({ status: 500, text: '{"error":"out of order"}' }),
  garbage: async (act, call) => {
    await act(call);
    return { status: 200, text: '{"success": tr' };
  },
  cut: async () => null,
  cut_after: async (act, call) => {
    await act(call);
    return null;
  },
  cut_middle: async (act, call) => ({ ...ok(await act(call)), cut: true }),
  refuse: async (_act, call) =>
    ok({
      success: false,
      isValid: false,
      errorReason: "insufficient_funds",
      invalidReason: "insufficient_funds",
      transaction: "",
      network: call.paymentRequirements.network,
      payer: payerOf(call),
    }),
  // Sent on chain, and told by the next call for the same proof.
  pending: async (act, call) => {
    const answer = await act(call);
    settled.set(proofOf(call), answer);
    return ok({ ...answer, success: false, errorReason: "settlement_pending" });
  },
  // Said to be sent on chain, and it never was.
  pending_for_nothing: async (_act, call) =>
    ok({
      success: false,
      errorReason: "settlement_pending",
      transaction: `0x${"ab".repeat(32)}`,
      network: call.paymentRequirements.network,
      payer: payerOf(call),
    }),
  other_payer: async (act, call) => ok({ ...(await act(call)), payer: STRANGER }),
  other_network: async (act, call) => ok({ ...(await act(call)), network: "eip155:1" }),
  other_amount: async (act, call) => ok({ ...(await act(call)), amount: "999999999" }),
};

const waiting = [];
let calls = { supported: 0, verify: 0, settle: 0 };

async function answer(op, call) {
  calls[op] += 1;
  const kept = op === "settle" && settled.get(proofOf(call));
  const at = waiting.findIndex((fault) => fault.op === op);
  if (at < 0) return ok(kept || (await OPERATIONS[op](call)));
  const fault = waiting[at];
  fault.count -= 1;
  if (fault.count <= 0) waiting.splice(at, 1);
  return FAULTS[fault.kind](OPERATIONS[op], call, fault);
}

function switched(path, body) {
  if (path === "/calls") {
    const told = calls;
    if (!body.peek) calls = { supported: 0, verify: 0, settle: 0 };
    return ok(told);
  }
  if (path !== "/fault") return { status: 404, text: "{}" };
  if (body.op === "none") {
    waiting.length = 0;
    return ok({});
  }
  if (!(body.op in OPERATIONS) || !(body.kind in FAULTS)) return { status: 400, text: '{"error":"no such fault"}' };
  waiting.push({ count: 1, ms: 0, ...body });
  return ok({});
}

async function read(request) {
  const parts = [];
  let length = 0;
  for await (const part of request) {
    length += part.length;
    if (length > BODY_BYTES_MAX) throw new Error("too large");
    parts.push(part);
  }
  return length === 0 ? {} : JSON.parse(Buffer.concat(parts));
}

const server = createServer(async (request, response) => {
  let told;
  try {
    const body = await read(request);
    const op = request.url.slice(1);
    told = op in OPERATIONS ? await answer(op, body) : switched(request.url, body);
  } catch (error) {
    told = { status: 500, text: JSON.stringify({ error: String(error.message ?? error) }) };
  }
  if (told === null) return request.socket.destroy();
  response.writeHead(told.status, { "content-type": "application/json", "content-length": Buffer.byteLength(told.text) });
  if (!told.cut) return response.end(told.text);
  response.write(told.text.slice(0, told.text.length / 2), () => request.socket.destroy());
});
process.stdin.on("end", () => process.exit(0)).resume();
server.listen(Number(values.port), "127.0.0.1", () => console.log(JSON.stringify({ address: account.address })));

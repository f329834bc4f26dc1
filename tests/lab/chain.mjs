// A chain with the token of the bench at the address where clients know the real one.
//
//   FACILITATOR_KEY=0x… PAYER_KEYS=0x…,0x… ALLOWING_KEYS=0x…,0x… node chain.mjs --port PORT
//
// Payers get tokens, those that allow it let Permit2 spend theirs, the facilitator what settling costs. Prints one line of JSON when it is ready, and ends with its
// standard input.
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { parseArgs } from "node:util";
import { createTestClient, createWalletClient, http, parseEther, publicActions, walletActions } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { baseSepolia } from "viem/chains";

// USDC of base-sepolia: stock clients pay in no token they don't know.
const TOKEN = "0x036CbD53842c5426634e7929541eC2318f3dCF7e";
const MINTED = 1_000_000_000n;
// Our doubles of contracts that clients and facilitators know by their addresses.
const PERMIT2 = "0x000000000022D473030F116dDEE9F6B43aC78BA3";
const DOUBLES = [
  ["Permit2Double", "Permit2Double", PERMIT2],
  ["Proxies", "ExactProxy", "0x402085c248EeA27D92E8b30b2C58ed07f9E20001"],
  ["Proxies", "UptoProxy", "0x4020A4f3b7b90ccA423B9fabCc0CE57C6C240002"],
  ["Proxies", "Reads", "0xcA11bde05977b3631167028862bE2a173976CA11"],
];

const { values } = parseArgs({
  options: { port: { type: "string" } },
});
const require = createRequire(import.meta.url);

function compiled(name, part = name) {
  const solc = require("solc");
  const source = readFileSync(new URL(`contracts/${name}.sol`, import.meta.url), "utf8");
  const input = {
    language: "Solidity",
    sources: { [name]: { content: source } },
    settings: {
      viaIR: true,
      optimizer: { enabled: true },
      evmVersion: "paris",
      outputSelection: { "*": { "*": ["abi", "evm.deployedBytecode.object"] } },
    },
  };
  const output = JSON.parse(solc.compile(JSON.stringify(input)));
  const errors = (output.errors ?? []).filter((error) => error.severity === "error");
  if (errors.length > 0) throw new Error(errors.map((error) => error.formattedMessage).join("\n"));
  const contract = output.contracts[name][part];
  return { abi: contract.abi, code: `0x${contract.evm.deployedBytecode.object}` };
}

function startAnvil() {
  const binary = require.resolve("@foundry-rs/anvil-linux-amd64/bin/anvil");
  // A block every second, as with mining on demand the last one grows stale and `validAfter` is in its future.
  const args = ["--host", "127.0.0.1", "--port", values.port, "--chain-id", "84532", "--block-time", "1", "--silent"];
  const anvil = spawn(binary, args, { stdio: ["ignore", "inherit", "inherit"] });
  anvil.on("exit", (code) => process.exit(code ?? 1));
  return anvil;
}

async function ready(client) {
  for (let tries = 0; ; tries += 1) {
    try {
      return await client.getChainId();
    } catch (error) {
      if (tries > 300) throw error;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
  }
}

const addressOf = (key) => privateKeyToAccount(key).address;
const facilitator = addressOf(process.env.FACILITATOR_KEY);
const payers = process.env.PAYER_KEYS.split(",").map(addressOf);
const allowing = process.env.ALLOWING_KEYS.split(",").map((key) => privateKeyToAccount(key));
const anvil = startAnvil();
const stop = () => anvil.kill("SIGTERM");
process.on("SIGTERM", stop);
process.stdin.on("end", stop).resume();
const rpc = `http://127.0.0.1:${values.port}`;
const chain = createTestClient({ chain: baseSepolia, mode: "anvil", transport: http(rpc) })
  .extend(publicActions)
  .extend(walletActions);
await ready(chain);
const token = compiled("Token");
await chain.setCode({ address: TOKEN, bytecode: token.code });
for (const [name, part, address] of DOUBLES) await chain.setCode({ address, bytecode: compiled(name, part).code });
await chain.setBalance({ address: facilitator, value: parseEther("1000") });
const [account] = await chain.getAddresses();
const bank = createWalletClient({ account, chain: baseSepolia, transport: http(rpc) });
const mint = { address: TOKEN, abi: token.abi, functionName: "mint" };
const minted = [];
for (const payer of payers) minted.push(await bank.writeContract({ ...mint, args: [payer, MINTED] }));
const approve = { address: TOKEN, abi: token.abi, functionName: "approve", args: [PERMIT2, MINTED] };
for (const owner of allowing) {
  await chain.setBalance({ address: owner.address, value: parseEther("1") });
  const wallet = createWalletClient({ account: owner, chain: baseSepolia, transport: http(rpc) });
  minted.push(await wallet.writeContract(approve));
}
for (const hash of minted) await chain.waitForTransactionReceipt({ hash });
console.log(JSON.stringify({ rpc, token: TOKEN, payers }));

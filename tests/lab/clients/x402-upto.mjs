// @x402/fetch with scheme `upto`, as its documentation shows it. What it comes to is settled when all was delivered, so
// the answer has no receipt yet.
import { wrapFetchWithPayment, x402Client } from "@x402/fetch";
import { UptoEvmScheme } from "@x402/evm/upto/client";
import { privateKeyToAccount } from "viem/accounts";
import { call } from "./call.mjs";

const account = privateKeyToAccount(process.env.PAYER_KEY);
const client = new x402Client().register("eip155:84532", new UptoEvmScheme(account));
await call(wrapFetchWithPayment(fetch, client), () => null);

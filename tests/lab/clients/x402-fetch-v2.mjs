// @x402/fetch, as its README shows it.
import { decodePaymentResponseHeader, wrapFetchWithPaymentFromConfig } from "@x402/fetch";
import { ExactEvmScheme } from "@x402/evm";
import { privateKeyToAccount } from "viem/accounts";
import { call } from "./call.mjs";

const account = privateKeyToAccount(process.env.PAYER_KEY);
const schemes = [{ network: "eip155:84532", client: new ExactEvmScheme(account) }];
await call(wrapFetchWithPaymentFromConfig(fetch, { schemes }), (answer) =>
  decodePaymentResponseHeader(answer.headers.get("PAYMENT-RESPONSE")),
);

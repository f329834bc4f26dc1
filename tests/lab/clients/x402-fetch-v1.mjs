// x402-fetch of the first version of the protocol, as its README shows it.
import { decodeXPaymentResponse, wrapFetchWithPayment } from "x402-fetch";
import { createWalletClient, http } from "viem";
import { privateKeyToAccount } from "viem/accounts";
import { baseSepolia } from "viem/chains";
import { call } from "./call.mjs";

const account = privateKeyToAccount(process.env.PAYER_KEY);
const wallet = createWalletClient({ account, chain: baseSepolia, transport: http() });
// Its own cap is a tenth of a dollar.
await call(wrapFetchWithPayment(fetch, wallet, 1_000_000n), (answer) =>
  decodeXPaymentResponse(answer.headers.get("X-PAYMENT-RESPONSE")),
);

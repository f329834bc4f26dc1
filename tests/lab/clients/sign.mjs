// What a wallet does when a page asks it to sign: typed data on standard input, the signature on standard output.
import { privateKeyToAccount } from "viem/accounts";

let text = "";
for await (const part of process.stdin) text += part;
const { domain, types, primaryType, message } = JSON.parse(text);
delete types.EIP712Domain;
const account = privateKeyToAccount(process.env.PAYER_KEY);
const signature = await account.signTypedData({ domain, types, primaryType, message });
console.log(JSON.stringify({ address: account.address, signature }));

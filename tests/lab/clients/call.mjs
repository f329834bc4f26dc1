// METHOD URL [BODY] of the command line, called and told as one line of JSON.
export async function call(pay, receiptOf) {
  const [method, url, body] = process.argv.slice(2);
  const headers = body === undefined ? {} : { "content-type": "application/json" };
  // Asked for instead of the price.
  if (process.env.CREDIT) headers["x-tollkeep-credit"] = process.env.CREDIT;
  let told;
  try {
    const answer = await pay(url, { method, headers, body });
    const text = await answer.text();
    const field = (name) => answer.headers.get(`x-session-${name}`);
    const session = { token: field("token"), balance: field("balance"), expires: field("expires") };
    told = { status: answer.status, body: text, receipt: null, session };
    // What a pass of before serves is not paid for again.
    const has = ["PAYMENT-RESPONSE", "X-PAYMENT-RESPONSE"].some((name) => answer.headers.has(name));
    if (has) told.receipt = receiptOf(answer);
  } catch (error) {
    told = { error: String(error?.message ?? error) };
  }
  // A broken pipe must not pass for an answer.
  process.stdout.write(`${JSON.stringify(told)}\n`, () => process.exit(0));
}

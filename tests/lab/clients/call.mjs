// METHOD URL [BODY] of the command line, called and told as one line of JSON.
export async function call(pay, receiptOf) {
  const [method, url, body] = process.argv.slice(2);
  const headers = body === undefined ? {} : { "content-type": "application/json" };
  let told;
  try {
    const answer = await pay(url, { method, headers, body });
    const text = await answer.text();
    told = { status: answer.status, body: text, receipt: null };
    if (answer.ok) told.receipt = receiptOf(answer);
  } catch (error) {
    told = { error: String(error?.message ?? error) };
  }
  // A broken pipe must not pass for an answer.
  process.stdout.write(`${JSON.stringify(told)}\n`, () => process.exit(0));
}

"""The Python client `x402` over httpx, as its documentation shows it.

    x402_httpx.py METHOD URL [BODY]      pays and tells the answer as one line of JSON
    x402_httpx.py --sign METHOD URL [BODY]   asks for the price and prints the proof instead of showing it

CREDIT: the credit that is asked for instead of the price. PAYMENT_NAME: what the payment is called, by the extension `payment-identifier`.
"""

import asyncio
import json
import os
import sys

import httpx
from eth_account import Account
from x402 import x402Client
from x402.extensions.payment_identifier import append_payment_identifier_to_extensions
from x402.http.clients import x402HttpxClient
from x402.http.utils import decode_payment_response_header
from x402.http.x402_http_client import x402HTTPClient
from x402.mechanisms.evm import EthAccountSigner
from x402.mechanisms.evm.exact.register import register_exact_evm_client


def client() -> x402Client:
    made = x402Client()
    register_exact_evm_client(made, EthAccountSigner(Account.from_key(os.environ["PAYER_KEY"])))
    if name := os.environ.get("PAYMENT_NAME"):

        async def call_it(context) -> None:
            append_payment_identifier_to_extensions(context.payment_required.extensions, name)

        made.on_before_payment_creation(call_it)
    return made


def request(arguments: list[str]) -> dict:
    method, url, *body = arguments
    made = {"method": method, "url": url}
    if body:
        made |= {"content": body[0], "headers": {"content-type": "application/json"}}
    if credit := os.environ.get("CREDIT"):
        made["headers"] = made.get("headers", {}) | {"x-tollkeep-credit": credit}
    return made


async def pay(arguments: list[str]) -> dict:
    async with x402HttpxClient(client(), timeout=60) as http:
        answer = await http.request(**request(arguments))
    receipt = None
    if "PAYMENT-RESPONSE" in answer.headers:
        receipt = decode_payment_response_header(answer.headers["PAYMENT-RESPONSE"]).model_dump(mode="json")
    session = {name: answer.headers.get(f"x-session-{name}") for name in ("token", "balance", "expires")}
    return {"status": answer.status_code, "body": answer.text, "receipt": receipt, "session": session}


async def sign(arguments: list[str]) -> dict:
    http = x402HTTPClient(client())
    async with httpx.AsyncClient(timeout=60) as plain:
        answer = await plain.request(**request(arguments))
    if answer.status_code != 402:
        return {"status": answer.status_code, "body": answer.text}
    headers, _ = await http.handle_402_response(dict(answer.headers), answer.content, arguments[1])
    return {"status": 402, "headers": headers}


def main() -> None:
    arguments = sys.argv[1:]
    act = pay
    if arguments[0] == "--sign":
        act, arguments = sign, arguments[1:]
    try:
        told = asyncio.run(act(arguments))
    except Exception as error:  # noqa: BLE001 (what a client raises is what it tells its user)
        told = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(told))


main()

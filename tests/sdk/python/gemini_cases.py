"""The official Gemini client, unmodified."""

import asyncio
import base64
import time

from google import genai
from google.genai import errors, types
from pydantic import BaseModel

from harness import (
    DATA_URL,
    OVERSIZE,
    PIXEL,
    SLOW,
    TOKEN,
    accounted,
    cancelled,
    case,
    counted_token,
    new_token,
    raises,
    unknown_token,
)


def client_of(api_key=TOKEN, retries=0, **more):
    options = types.HttpOptions(
        base_url=DATA_URL,
        timeout=30_000,
        retry_options=types.HttpRetryOptions(attempts=1 + retries, initial_delay=0.2),
        **more,
    )
    return genai.Client(api_key=api_key, http_options=options)


client = client_of()


def ask(text, using=client, model="sandbox-1", **config):
    return using.models.generate_content(model=model, contents=text, config=config)


def stream(text, using=client, model="sandbox-1", **config):
    return using.models.generate_content_stream(model=model, contents=text, config=config)


@case("gemini: content, plain")
def plain():
    answer = ask("Hello there", system_instruction="Be kind")
    assert answer.text == "You said: Hello there", answer
    assert answer.candidates[0].finish_reason == types.FinishReason.STOP, answer
    assert answer.model_version == "sandbox-1", answer
    usage = answer.usage_metadata
    assert (usage.prompt_token_count, usage.candidates_token_count) == (5, 4), usage
    short = ask("Hello there", max_output_tokens=3)
    assert short.candidates[0].finish_reason == types.FinishReason.MAX_TOKENS, short
    assert short.text == "You said: Hello", short


@case("gemini: content, streamed")
def streamed():
    chunks = list(stream("Hello there"))
    assert "".join(chunk.text or "" for chunk in chunks) == "You said: Hello there", chunks
    assert chunks[-1].usage_metadata.candidates_token_count == 4, chunks[-1]
    assert chunks[-1].candidates[0].finish_reason == types.FinishReason.STOP, chunks[-1]


@case("gemini: content, asynchronous client")
def asynchronous():
    async def talk():
        parts = await client.aio.models.generate_content_stream(model="sandbox-1", contents="Hello")
        return "".join([chunk.text or "" async for chunk in parts])

    assert asyncio.run(talk()) == "You said: Hello"


@case("gemini: a chat of two turns")
def conversation():
    chat = client.chats.create(model="sandbox-1")
    assert chat.send_message("Hello").text == "You said: Hello"
    assert chat.send_message("Again").text == "You said: Again"
    assert len(chat.get_history()) == 4


CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "minLength": 12}},
    "required": ["city"],
}
TOOLS = [
    types.Tool(
        function_declarations=[
            types.FunctionDeclaration(name=name, description=name, parameters_json_schema=CITY)
            for name in ("weather", "time")
        ]
    )
]


@case("gemini: content, two parallel function calls and their results")
def tools():
    asked = [types.Content(role="user", parts=[types.Part(text="sandbox:tools=2; Rain in Oslo?")])]
    answer = ask(asked, tools=TOOLS)
    calls = answer.function_calls
    assert [call.name for call in calls] == ["weather", "time"], answer
    assert all(len(call.args["city"]) == 12 for call in calls), answer
    results = [
        types.Part.from_function_response(name=call.name, response={"result": "fine"})
        for call in calls
    ]
    turns = asked + [answer.candidates[0].content, types.Content(role="user", parts=results)]
    assert ask(turns, tools=TOOLS).text == "You said: Rain in Oslo?"
    streamed = [call for part in stream(asked, tools=TOOLS) for call in part.function_calls or []]
    assert [call.name for call in streamed] == ["weather", "time"], streamed


@case("gemini: content, image in and JSON schema out")
def image_and_schema():
    class Place(BaseModel):
        name: str
        floors: int

    image = types.Part.from_bytes(data=base64.b64decode(PIXEL), mime_type="image/png")
    answer = ask(
        [image, "What is this?"], response_mime_type="application/json", response_schema=Place
    )
    assert answer.parsed == Place(name="", floors=0), answer


@case("gemini: content, thoughts")
def thinking():
    config = types.ThinkingConfig(include_thoughts=True)
    answer = ask("Hello", model="sandbox-think", thinking_config=config)
    parts = answer.candidates[0].content.parts
    assert parts[0].thought and parts[0].text and parts[-1].text == "You said: Hello", answer
    usage = answer.usage_metadata
    assert (usage.thoughts_token_count, usage.candidates_token_count) == (6, 3), usage


@case("gemini: count_tokens")
def count_tokens():
    counted = client.models.count_tokens(model="sandbox-1", contents="Hello there")
    assert counted.total_tokens == 3, counted


@case("gemini: models")
def models():
    names = [model.name for model in client.models.list()]
    assert "models/sandbox-1" in names and "models/sandbox-think" in names, names
    paged = [model.name for model in client.models.list(config={"page_size": 1})]
    assert paged == names, "pages add up"
    model = client.models.get(model="sandbox-1")
    assert "generateContent" in model.supported_actions, model
    error = raises(errors.ClientError, lambda: client.models.get(model="no-such-model"))
    assert (error.code, error.status) == (404, "NOT_FOUND"), error


@case("gemini: a wrong key is refused the same way whatever is wrong with it", gateway_only=True)
def wrong_key():
    bodies = []
    for key in (unknown_token(), "AIzaNotAToken"):
        error = raises(errors.ClientError, lambda: ask("Hello", using=client_of(key)))
        assert (error.code, error.status) == (401, "UNAUTHENTICATED"), error
        bodies.append(error.details)
    assert bodies[0] == bodies[1], bodies


@case("gemini: a token's rate limit, and the client that waits for it", gateway_only=True)
def rate_limit():
    token = new_token(requests_per_second=1, burst=1)
    ask("Hello", using=client_of(token))
    error = raises(errors.ClientError, lambda: ask("Hello", using=client_of(token)))
    assert (error.code, error.status) == (429, "RESOURCE_EXHAUSTED"), error
    started = time.monotonic()
    patient = client_of(token, retries=5)
    assert ask("Hello", using=patient).text == "You said: Hello"
    assert time.monotonic() - started > 0.1, "it did not wait"


@case("gemini: a body over the limit is refused", gateway_only=True)
def oversize():
    error = raises(errors.ClientError, lambda: ask(OVERSIZE))
    assert error.code == 413 and error.message, error


@case("gemini: cancelling a stream lets it go everywhere")
def cancel():
    cancelled(lambda: stream(SLOW))


@case("gemini: a stream that fails in the middle raises")
def interrupted():
    for asked in ("error_after", "cut_after"):
        raises(Exception, lambda: list(stream(f"sandbox:{asked}=2; One two three")))


@case("gemini: upstream errors arrive as the client's typed errors")
def upstream_errors():
    for status, kind, word in (
        (400, errors.ClientError, "INVALID_ARGUMENT"),
        (404, errors.ClientError, "NOT_FOUND"),
        (429, errors.ClientError, "RESOURCE_EXHAUSTED"),
        (500, errors.ServerError, "INTERNAL"),
        (503, errors.ServerError, "UNAVAILABLE"),
    ):
        error = raises(kind, lambda: ask(f"sandbox:status={status},retry_after=3; Hello"))
        # What a vendor says of its own troubles is told as the gateway's.
        want = {status, 502} if status == 500 else {status}
        assert error.code in want and error.status == word, error
    error = raises(errors.ClientError, lambda: ask("Hello", model="no-such-model"))
    assert (error.code, error.status) == (404, "NOT_FOUND"), error


# LED acceptance 4
@case("gemini: what a client is told is what record and receipt say", gateway_only=True)
def accounts():
    token = counted_token()
    using = client_of(token)
    answers = [ask("Hello there", using=using), list(stream("Hello there", using=using))[-1]]
    answers.append(ask("Hello there", using=using, model="sandbox-think"))
    for answer in answers:
        usage = answer.usage_metadata
        output = usage.candidates_token_count + (usage.thoughts_token_count or 0)
        request = answer.sdk_http_response.headers["x-request-id"]
        accounted(token, request, (usage.prompt_token_count, output))

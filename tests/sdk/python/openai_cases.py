"""The official OpenAI client, unmodified, with its strict validation of answers on."""

import asyncio
import json
import time

import httpx2
import openai
from pydantic import BaseModel

from harness import (
    CITY,
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


def client_of(api_key=TOKEN, retries=0, kind=openai.OpenAI, strict=True):
    return kind(
        api_key=api_key,
        base_url=DATA_URL + "/v1",
        max_retries=retries,
        timeout=30,
        _strict_response_validation=strict,
    )


client = client_of()
# The client's own types don't allow two things that the vendor sends: no `finish_reason` yet in a
# streamed completion, and vectors in the base64 that the client itself asks for.
lenient = client_of(strict=False)


def said(text):
    return [{"role": "user", "content": text}]


def chat(text, using=client, **more):
    return using.chat.completions.create(model="sandbox-1", messages=said(text), **more)


@case("openai: chat, plain")
def plain():
    answer = chat("Hello there")
    choice = answer.choices[0]
    assert choice.message.content == "You said: Hello there", choice
    assert choice.finish_reason == "stop", choice
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (3, 4), answer.usage
    assert answer.model == "sandbox-1" and answer.object == "chat.completion"


@case("openai: chat, streamed with usage")
def streamed():
    chunks = list(chat("Hello there", stream=True, stream_options={"include_usage": True}))
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == "You said: Hello there", text
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].usage.completion_tokens == 4, chunks[-1]


@case("openai: chat, streamed without usage asked for")
def streamed_without_usage():
    chunks = list(chat("Hello there", stream=True))
    assert all(c.choices and c.usage is None for c in chunks), chunks[-1]


@case("openai: chat, asynchronous client")
def asynchronous():
    async def talk():
        async with client_of(kind=openai.AsyncOpenAI) as talker:
            stream = await chat("Hello", using=talker, stream=True)
            return "".join([c.choices[0].delta.content or "" async for c in stream])

    assert asyncio.run(talk()) == "You said: Hello"


@case("openai: plain and streamed calls, side by side on one connection of HTTP/2", gateway_only=True)
def over_http2():
    versions = []

    async def note(response):
        versions.append(response.http_version)

    async def talk():
        transport = httpx2.AsyncClient(http1=False, http2=True, event_hooks={"response": [note]})
        async with client_of(kind=openai.AsyncOpenAI).with_options(http_client=transport) as talker:
            plain = [chat(f"Hello {number}", using=talker) for number in range(20)]
            answers = await asyncio.gather(*plain)
            stream = await chat("Hello there", using=talker, stream=True)
            text = "".join([c.choices[0].delta.content or "" async for c in stream])
            refused = client_of(unknown_token(), kind=openai.AsyncOpenAI)
            refused = refused.with_options(http_client=transport)
            try:
                await chat("Hello", using=refused)
            except openai.AuthenticationError as error:
                assert error.status_code == 401, error
            else:
                raise AssertionError("an unknown token was served")
            return [answer.choices[0].message.content for answer in answers], text

    plain, streamed = asyncio.run(talk())
    assert plain == [f"You said: Hello {number}" for number in range(20)], plain
    assert streamed == "You said: Hello there", streamed
    assert versions == ["HTTP/2"] * 22, versions


TOOLS = [
    {"type": "function", "function": {"name": "weather", "parameters": CITY, "strict": True}},
    {"type": "function", "function": {"name": "time", "parameters": CITY, "strict": True}},
]


@case("openai: chat, two parallel tool calls and their results")
def tools():
    asked = said("sandbox:tools=2; What is it like in Oslo?")
    answer = client.chat.completions.create(model="sandbox-1", messages=asked, tools=TOOLS)
    assert answer.choices[0].finish_reason == "tool_calls", answer
    message = answer.choices[0].message
    assert [call.function.name for call in message.tool_calls] == ["weather", "time"], message
    assert message.content is None
    results = []
    for call in message.tool_calls:
        assert len(json.loads(call.function.arguments)["city"]) == 12, call
        results.append({"role": "tool", "tool_call_id": call.id, "content": "fine"})
    conversation = asked + [message.model_dump(exclude_none=True)] + results
    last = client.chat.completions.create(model="sandbox-1", messages=conversation, tools=TOOLS)
    assert last.choices[0].message.content == "You said: What is it like in Oslo?", last


@case("openai: chat, tool arguments streamed")
def streamed_tools():
    with client.chat.completions.stream(
        model="sandbox-1", messages=said("sandbox:tools=2,chunks=5; Rain?"), tools=TOOLS
    ) as stream:
        deltas = [e for e in stream if e.type == "tool_calls.function.arguments.delta"]
        calls = stream.get_final_completion().choices[0].message.tool_calls
    assert [call.function.name for call in calls] == ["weather", "time"], calls
    assert {delta.index for delta in deltas} == {0, 1} and len(deltas) >= 10, len(deltas)
    assert all(len(json.loads(call.function.arguments)["city"]) == 12 for call in calls), calls


@case("openai: chat, image in and JSON schema out")
def image_and_schema():
    class Place(BaseModel):
        name: str
        floors: int

    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + PIXEL}}
    content = [{"type": "text", "text": "What is this?"}, image]
    answer = client.chat.completions.parse(
        model="sandbox-1",
        messages=[{"role": "user", "content": content}],
        response_format=Place,
    )
    assert answer.choices[0].message.parsed == Place(name="", floors=0), answer


@case("openai: chat, thinking")
def thinking():
    answer = client.chat.completions.create(model="sandbox-think", messages=said("Hello"))
    assert answer.usage.completion_tokens_details.reasoning_tokens == 6, answer.usage
    assert answer.choices[0].message.reasoning_content, answer


@case("openai: completions, plain and streamed")
def completions():
    answer = client.completions.create(model="sandbox-1", prompt="Hello", max_tokens=2)
    assert answer.choices[0].text == "You said:", answer
    assert answer.choices[0].finish_reason == "length", answer
    stream = lenient.completions.create(model="sandbox-1", prompt="Hello", stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == "You said: Hello"


@case("openai: embeddings")
def embeddings():
    answer = lenient.embeddings.create(model="sandbox-embed", input=["Hello", "World"])
    assert [len(item.embedding) for item in answer.data] == [64, 64], answer
    length = sum(x * x for x in answer.data[0].embedding)
    assert abs(length - 1) < 1e-5, length
    plain = client.embeddings.create(
        model="sandbox-embed", input="Hello", dimensions=4, encoding_format="float"
    )
    assert len(plain.data[0].embedding) == 4 and plain.usage.prompt_tokens == 2, plain


@case("openai: responses, plain")
def responses():
    answer = client.responses.create(model="sandbox-1", input="Hello", instructions="Be short")
    assert answer.output_text == "You said: Hello", answer
    assert answer.status == "completed" and answer.usage.output_tokens == 3, answer
    short = client.responses.create(model="sandbox-1", input="Hello", max_output_tokens=1)
    assert short.status == "incomplete", short
    assert short.incomplete_details.reason == "max_output_tokens", short


@case("openai: responses, streamed with thinking")
def streamed_responses():
    with client.responses.stream(model="sandbox-think", input="Hello") as stream:
        events = list(stream)
        final = stream.get_final_response()
    text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert text == final.output_text == "You said: Hello", text
    assert final.usage.output_tokens_details.reasoning_tokens == 6, final.usage
    numbers = [e.sequence_number for e in events]
    assert numbers == sorted(set(numbers)), numbers


@case("openai: responses, two parallel tool calls streamed and their results")
def responses_tools():
    offered = [{"type": "function", **tool["function"]} for tool in TOOLS]
    asked = [{"role": "user", "content": "sandbox:tools=2,chunks=3; Rain?"}]
    with client.responses.stream(model="sandbox-1", input=asked, tools=offered) as stream:
        deltas = [e for e in stream if e.type == "response.function_call_arguments.delta"]
        calls = stream.get_final_response().output
    assert [call.name for call in calls] == ["weather", "time"] and len(deltas) == 6, calls
    results = [
        {"type": "function_call_output", "call_id": call.call_id, "output": "fine"}
        for call in calls
    ]
    made = [
        {"type": "function_call", "call_id": c.call_id, "name": c.name, "arguments": c.arguments}
        for c in calls
    ]
    last = client.responses.create(model="sandbox-1", input=asked + made + results, tools=offered)
    assert last.output_text == "You said: Rain?", last


@case("openai: models")
def models():
    names = [model.id for model in client.models.list()]
    for name in ("sandbox-1", "sandbox-embed", "sandbox-think"):
        assert name in names, names
    assert client.models.retrieve("sandbox-1").id == "sandbox-1"
    error = raises(openai.NotFoundError, lambda: client.models.retrieve("no-such-model"))
    assert error.code == "model_not_found", error


@case("openai: a wrong key is refused the same way whatever is wrong with it", gateway_only=True)
def wrong_key():
    bodies = []
    for key in (unknown_token(), "sk-not-a-token"):
        error = raises(openai.AuthenticationError, lambda: chat("Hello", using=client_of(key)))
        assert error.status_code == 401 and error.code == "invalid_api_key", error.body
        bodies.append(error.body)
    assert bodies[0] == bodies[1], bodies


@case("openai: a token's rate limit, and the client that waits for it", gateway_only=True)
def rate_limit():
    token = new_token(requests_per_second=1, burst=1)
    hasty = client_of(token)
    chat("Hello", using=hasty)
    error = raises(openai.RateLimitError, lambda: chat("Hello", using=hasty))
    assert error.status_code == 429 and error.code == "rate_limit_exceeded", error.body
    assert int(error.response.headers["retry-after"]) >= 1, error.response.headers
    started = time.monotonic()
    patient = client_of(token, retries=3)
    assert chat("Hello", using=patient).choices[0].message.content == "You said: Hello"
    assert time.monotonic() - started > 0.1, "it did not wait"


@case("openai: a body over the limit is refused", gateway_only=True)
def oversize():
    error = raises(openai.APIStatusError, lambda: chat(OVERSIZE))
    assert error.status_code == 413 and error.code == "request_too_large", error.body


@case("openai: cancelling a stream lets it go everywhere")
def cancel():
    cancelled(lambda: chat(SLOW, stream=True))


@case("openai: a stream that fails in the middle raises")
def interrupted():
    def read(text):
        got = []
        for chunk in chat(text, stream=True):
            got.append(chunk.choices[0].delta.content)
        return got

    raises(openai.APIError, lambda: read("sandbox:error_after=2; One two three"))
    raises(openai.APIError, lambda: read("sandbox:cut_after=2; One two three"))


@case("openai: a streamed response that fails in the middle says so")
def interrupted_response():
    stream = client.responses.create(
        model="sandbox-1", input="sandbox:error_after=2; One two three", stream=True
    )
    last = list(stream)[-1]
    assert last.type == "response.failed" and last.response.error.code == "server_error", last


@case("openai: upstream errors arrive as the client's typed errors")
def upstream_errors():
    for status, kind in (
        (400, openai.BadRequestError),
        (422, openai.UnprocessableEntityError),
        (404, openai.NotFoundError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ):
        error = raises(kind, lambda: chat(f"sandbox:status={status},retry_after=3; Hello"))
        assert error.body["message"], error.body
        if status == 429:
            assert int(error.response.headers["retry-after"]) >= 1, error.response.headers
    unknown = lambda: client.chat.completions.create(model="no-such-model", messages=said("Hello"))
    assert raises(openai.NotFoundError, unknown).code == "model_not_found"


# LED acceptance 4
@case("openai: what a client is told is what record and receipt say", gateway_only=True)
def accounts():
    token = counted_token()
    using = client_of(token)

    def check(raw, usage, sent="prompt_tokens", said="completion_tokens"):
        told = getattr(usage, sent), getattr(usage, said, 0)
        accounted(token, raw.headers["x-request-id"], told)

    chats = using.chat.completions.with_raw_response
    for model in ("sandbox-1", "sandbox-think"):
        raw = chats.create(model=model, messages=said("Hello there"))
        check(raw, raw.parse().usage)
        more = {"stream": True, "stream_options": {"include_usage": True}}
        raw = chats.create(model=model, messages=said("Hello there"), **more)
        check(raw, list(raw.parse())[-1].usage)
    words = ("input_tokens", "output_tokens")
    raw = using.responses.with_raw_response.create(model="sandbox-1", input="Hello there")
    check(raw, raw.parse().usage, *words)
    raw = using.responses.with_raw_response.create(model="sandbox-1", input="Hello", stream=True)
    check(raw, list(raw.parse())[-1].response.usage, *words)
    raw = using.completions.with_raw_response.create(model="sandbox-1", prompt="Hello there")
    check(raw, raw.parse().usage)
    using = client_of(token, strict=False)
    raw = using.embeddings.with_raw_response.create(model="sandbox-embed", input="Hello there")
    check(raw, raw.parse().usage)

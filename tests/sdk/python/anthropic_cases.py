"""The official Anthropic client, unmodified, with its strict validation of answers on."""

import asyncio
import time

import anthropic
from anthropic import transform_schema
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


def client_of(api_key=TOKEN, retries=0, kind=anthropic.Anthropic):
    return kind(
        api_key=api_key,
        base_url=DATA_URL,
        max_retries=retries,
        timeout=30,
        _strict_response_validation=True,
    )


client = client_of()


def said(text):
    return [{"role": "user", "content": text}]


def ask(text, using=client, **more):
    asked = {"model": "sandbox-1", "max_tokens": 1024, "messages": said(text), **more}
    return using.messages.create(**asked)


@case("anthropic: messages, plain")
def plain():
    answer = ask("Hello there", system="Be kind")
    assert answer.content[0].text == "You said: Hello there", answer
    assert (answer.stop_reason, answer.role, answer.model) == ("end_turn", "assistant", "sandbox-1")
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (5, 4), answer.usage
    short = ask("Hello there", max_tokens=3)
    assert (short.stop_reason, short.content[0].text) == ("max_tokens", "You said: Hello"), short


@case("anthropic: messages, streamed")
def streamed():
    with client.messages.stream(
        model="sandbox-1", max_tokens=99, messages=said("Hello there")
    ) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == final.content[0].text == "You said: Hello there", text
    assert (final.stop_reason, final.usage.output_tokens) == ("end_turn", 4), final
    kinds = [event.type for event in ask("Hello", stream=True)]
    assert kinds[0] == "message_start" and kinds[-2:] == ["message_delta", "message_stop"], kinds


@case("anthropic: messages, asynchronous client")
def asynchronous():
    async def talk():
        async with client_of(kind=anthropic.AsyncAnthropic) as talker:
            return (await ask("Hello", using=talker)).content[0].text

    assert asyncio.run(talk()) == "You said: Hello"


TOOLS = [
    {"name": "weather", "description": "Weather", "input_schema": CITY},
    {"name": "time", "description": "Time", "input_schema": CITY},
]


@case("anthropic: messages, two parallel tool calls and their results")
def tools():
    asked = said("sandbox:tools=2; What is it like in Oslo?")
    answer = ask("", messages=asked, tools=TOOLS)
    assert answer.stop_reason == "tool_use", answer
    assert [block.name for block in answer.content] == ["weather", "time"], answer
    assert all(len(block.input["city"]) == 12 for block in answer.content), answer
    results = [
        {"type": "tool_result", "tool_use_id": block.id, "content": "fine"}
        for block in answer.content
    ]
    turns = [{"role": "assistant", "content": answer.content}, {"role": "user", "content": results}]
    last = ask("", messages=asked + turns, tools=TOOLS)
    assert last.content[0].text == "You said: What is it like in Oslo?", last


@case("anthropic: messages, tool arguments streamed")
def streamed_tools():
    with client.messages.stream(
        model="sandbox-1",
        max_tokens=99,
        messages=said("sandbox:tools=2,chunks=5; Rain?"),
        tools=TOOLS,
    ) as stream:
        pieces = [e for e in stream if e.type == "input_json"]
        blocks = stream.get_final_message().content
    assert [block.name for block in blocks] == ["weather", "time"] and len(pieces) >= 10, pieces
    assert all(len(block.input["city"]) == 12 for block in blocks), blocks


@case("anthropic: messages, image in and JSON schema out")
def image_and_schema():
    class Place(BaseModel):
        name: str
        floors: int

    image = {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": PIXEL},
    }
    wanted = {"format": {"type": "json_schema", "schema": transform_schema(Place)}}
    content = [image, {"type": "text", "text": "What is this?"}]
    answer = ask("", messages=[{"role": "user", "content": content}], output_config=wanted)
    assert Place.model_validate_json(answer.content[0].text) == Place(name="", floors=0), answer


@case("anthropic: messages, thinking and a second turn with it")
def thinking():
    thinks = {"type": "enabled", "budget_tokens": 1024}
    more = {"model": "sandbox-think", "max_tokens": 2048, "thinking": thinks}
    with client.messages.stream(messages=said("Hello"), **more) as stream:
        first = stream.get_final_message()
    assert [block.type for block in first.content] == ["thinking", "text"], first
    assert first.content[0].signature and first.content[0].thinking, first
    turns = said("Hello") + [{"role": "assistant", "content": first.content}] + said("Again")
    second = ask("", messages=turns, **more)
    assert second.content[-1].text == "You said: Again", second
    assert second.usage.output_tokens_details.thinking_tokens == 6, second.usage


@case("anthropic: count_tokens")
def count_tokens():
    counted = client.messages.count_tokens(
        model="sandbox-1", system="Be kind", messages=said("Hello there")
    )
    assert counted.input_tokens == 5, counted


@case("anthropic: models")
def models():
    names = [model.id for model in client.models.list()]
    assert "sandbox-1" in names and "sandbox-think" in names, names
    page = client.models.list(limit=1)
    assert len(page.data) == 1 and page.has_more, page
    assert [model.id for model in client.models.list(limit=1)] == names, "pages add up"
    assert client.models.retrieve("sandbox-1").type == "model"
    error = raises(anthropic.NotFoundError, lambda: client.models.retrieve("no-such-model"))
    assert error.body["error"]["type"] == "not_found_error", error.body


@case("anthropic: a wrong key is refused the same way whatever is wrong with it", gateway_only=True)
def wrong_key():
    bodies = []
    for key in (unknown_token(), "sk-ant-not-a-token"):
        error = raises(anthropic.AuthenticationError, lambda: ask("Hello", using=client_of(key)))
        assert error.status_code == 401, error
        assert error.body["error"]["type"] == "authentication_error", error.body
        bodies.append(error.body["error"])
    assert bodies[0] == bodies[1], bodies


@case("anthropic: a bearer token is as good as an x-api-key", gateway_only=True)
def bearer():
    holder = anthropic.Anthropic(auth_token=TOKEN, api_key=None, base_url=DATA_URL, max_retries=0)
    assert ask("Hello", using=holder).content[0].text == "You said: Hello"


@case("anthropic: a token's rate limit, and the client that waits for it", gateway_only=True)
def rate_limit():
    token = new_token(requests_per_second=1, burst=1)
    hasty = client_of(token)
    ask("Hello", using=hasty)
    error = raises(anthropic.RateLimitError, lambda: ask("Hello", using=hasty))
    assert error.body["error"]["type"] == "rate_limit_error", error.body
    assert int(error.response.headers["retry-after"]) >= 1, error.response.headers
    started = time.monotonic()
    patient = client_of(token, retries=3)
    assert ask("Hello", using=patient).content[0].text == "You said: Hello"
    assert time.monotonic() - started > 0.1, "it did not wait"


@case("anthropic: a body over the limit is refused", gateway_only=True)
def oversize():
    error = raises(anthropic.APIStatusError, lambda: ask(OVERSIZE))
    assert error.status_code == 413, error
    assert error.body["error"]["type"] == "request_too_large", error.body


@case("anthropic: cancelling a stream lets it go everywhere")
def cancel():
    cancelled(lambda: ask(SLOW, stream=True))


@case("anthropic: a stream that fails in the middle raises")
def interrupted():
    error = raises(
        anthropic.APIStatusError,
        lambda: list(ask("sandbox:error_after=2; One two three", stream=True)),
    )
    assert error.body["type"] == "error" and error.body["error"]["message"], error.body
    # Without the vendor's event the client has no error of its own and passes on what it read with.
    raises(Exception, lambda: list(ask("sandbox:cut_after=2; One two three", stream=True)))


@case("anthropic: upstream errors arrive as the client's typed errors")
def upstream_errors():
    for status, kind in (
        (400, anthropic.BadRequestError),
        (422, anthropic.UnprocessableEntityError),
        (404, anthropic.NotFoundError),
        (429, anthropic.RateLimitError),
        (500, anthropic.InternalServerError),
        (529, anthropic.InternalServerError),
    ):
        error = raises(kind, lambda: ask(f"sandbox:status={status},retry_after=3; Hello"))
        assert error.body["type"] == "error" and error.body["request_id"], error.body
        if status == 429:
            assert int(error.response.headers["retry-after"]) >= 1, error.response.headers
    unknown = lambda: ask("Hello", model="no-such-model")
    error = raises(anthropic.NotFoundError, unknown)
    assert error.body["error"]["type"] == "not_found_error", error.body


# LED acceptance 4
@case("anthropic: what a client is told is what record and receipt say", gateway_only=True)
def accounts():
    token = counted_token()
    using = client_of(token).messages.with_raw_response
    for model in ("sandbox-1", "sandbox-think"):
        asked = {"model": model, "max_tokens": 2048, "messages": said("Hello there")}
        raw = using.create(**asked)
        usage = raw.parse().usage
        accounted(token, raw.headers["x-request-id"], (usage.input_tokens, usage.output_tokens))
        raw = using.create(stream=True, **asked)
        events = {event.type: event for event in raw.parse()}
        told = (
            events["message_start"].message.usage.input_tokens,
            events["message_delta"].usage.output_tokens,
        )
        accounted(token, raw.headers["x-request-id"], told)

//! What steps of hooks say, and what they can't.

use super::*;
use crate::cel::Given;
use tollkeep_types::WallMillis;
use tollkeep_types::money::NanoUsd;

fn facts() -> HookFacts {
    let words = vec![Given::text("a"), Given::text("b")];
    HookFacts {
        variables: vec![
            (
                "request",
                Given::map([
                    ("method", Given::text("POST")),
                    ("path", Given::text("/x/7")),
                    ("params", Given::map([("id", Given::text("7"))])),
                    ("query", Given::map([("size", Given::text("xl"))])),
                    (
                        "headers",
                        Given::Fields(vec![
                            ("x-team".into(), Some("blue".into())),
                            ("x-twice".into(), None),
                        ]),
                    ),
                ]),
            ),
            ("client", Given::map([("ip", Given::text("10.0.0.7"))])),
            (
                "body",
                Given::map([
                    ("model", Given::text("gpt-4o")),
                    ("n", Given::Int(4)),
                    ("half", Given::Double(0.5)),
                    ("words", Given::List(words)),
                    ("long", Given::text("x".repeat(100_000))),
                    ("many", Given::List(vec![Given::Int(1); 5_000])),
                ]),
            ),
            ("labels", Given::Map(Vec::new())),
            (
                "price",
                Given::map([("nanos", Given::Int(10_000_000)), ("msat", Given::Null)]),
            ),
            (
                "payment",
                Given::map([
                    ("payer", Given::text("0x1")),
                    ("amount", Given::text("10000")),
                ]),
            ),
            ("response", Given::map([("status", Given::Int(200))])),
        ],
        now: WallMillis(1_795_300_000_000),
    }
}

fn told(moment: Moment, text: &str) -> Result<Verdict, StepFailed> {
    let program = Program::new(moment, text).unwrap_or_else(|fault| panic!("{text}: {fault}"));
    program.ask(moment, &facts())
}

// PAY-36
#[test]
fn expressions_ask_about_what_they_are_handed() {
    for text in [
        "request.method == 'POST' && request.path.startsWith('/x/') && request.params.id == '7'",
        "request.query.size == 'xl' && !has(request.query.other)",
        "request.headers['X-Team'] == 'blue' && !has(request.headers.authorization)",
        "'x-team' in request.headers && !('x-other' in request.headers)",
        "client.ip == '10.0.0.7'",
        "body.model == 'gpt-4o' && body.n == 4 && body.half < 1 && body['n'] > 3",
        "body.words == ['a', 'b'] && 'b' in body.words && body.words[0] == 'a'",
        "size(body.words) == 2 && body.words.exists(word, word == 'b') && size(body) == 6",
        "size(body.many) == 5000 && body.many[4999] == 1",
        "body.words.map(word, word + '!') == ['a!', 'b!'] && body.words.all(word, size(word) == 1)",
        "now > timestamp('2026-01-01T00:00:00Z')",
    ] {
        assert_eq!(
            told(Moment::Request, text),
            Ok(Verdict::default()),
            "{text}"
        );
    }
}

// PAY-36
#[test]
fn what_is_not_there_or_costs_too_much_fails_the_step() {
    use crate::cel::Failed;
    for (text, want) in [
        ("body.other == 1", Failed::Missing),
        ("request.headers['x-twice'] == ''", Failed::Missing),
        ("client.token_id == 'x'", Failed::Missing),
        ("body.model.sub == 1", Failed::Type),
        ("body.long.contains('y')", Failed::Cost),
        ("body.many.all(one, one == 1)", Failed::Cost),
        ("body == {}", Failed::Cost),
        ("body.many == [1]", Failed::Cost),
        ("1 in body.many", Failed::Cost),
        ("{'labels': {'all': body.long}}", Failed::Cost),
        ("request.headers == {}", Failed::Type),
    ] {
        let told = told(Moment::Request, text);
        assert_eq!(told, Err(StepFailed::Expression(want)), "{text}");
    }
}

// PAY-36
#[test]
fn what_is_no_variable_of_the_moment_is_refused_when_it_is_read() {
    for (moment, text, want) in [
        (
            Moment::Request,
            "price.nanos > 1",
            "there is no `price` here",
        ),
        (
            Moment::Price,
            "response.status == 200",
            "there is no `response` here",
        ),
        (
            Moment::Price,
            "price.nanoz > 1",
            "`price` has no `nanoz`; it has nanos, msat",
        ),
        (Moment::Request, "request", "`.` was expected"),
        (Moment::Request, "caller.known", "there is no `caller` here"),
        (
            Moment::Request,
            "request.headers.x.matches('a')",
            "regular expressions",
        ),
        (
            Moment::Settled,
            "payment.rail == 'x402'",
            "there is no `payment` here",
        ),
    ] {
        let fault = Program::new(moment, text).expect_err(text).to_string();
        assert!(fault.contains(want), "{text}: {fault}");
    }
    let long = format!("'{}' == ''", "x".repeat(5_000));
    assert!(
        Program::new(Moment::Request, &long).is_err(),
        "4 KiB at most"
    );
}

// PAY-36
#[test]
fn a_step_says_what_its_moment_allows_and_nothing_else() {
    let team = |status, code: &str, message: &str| Verdict {
        deny: Some(Deny {
            status,
            code: code.into(),
            message: message.into(),
        }),
        ..Verdict::default()
    };
    let said = [
        (Moment::Request, "false", Verdict::no()),
        (Moment::Request, "{'deny': null}", Verdict::default()),
        (
            Moment::Request,
            "{'deny': {'status': 451, 'code': 'not_here', 'message': 'No.'}}",
            team(451, "not_here", "No."),
        ),
        (Moment::Price, "{'deny': true}", Verdict::no()),
        (
            Moment::Price,
            "{'price': price.nanos * 2}",
            Verdict {
                price: Some(HookPrice::Usd(NanoUsd::new(20_000_000))),
                ..Verdict::default()
            },
        ),
        (
            Moment::Price,
            "{'price': '$0.25'}",
            Verdict {
                price: Some(HookPrice::Usd(NanoUsd::new(250_000_000))),
                ..Verdict::default()
            },
        ),
        (
            Moment::Response,
            "response.status == 200 ? {'settle': false, 'headers': {'X-Own': 'yes'}} : {}",
            Verdict {
                keeps_money: true,
                fields: vec![("x-own".into(), "yes".into())],
                ..Verdict::default()
            },
        ),
    ];
    for (moment, text, want) in said {
        assert_eq!(told(moment, text), Ok(want), "{text}");
    }
}

// PAY-36
#[test]
fn what_has_no_meaning_at_a_moment_fails_the_step() {
    for (moment, text) in [
        (Moment::Request, "1"),
        (Moment::Request, "'no'"),
        (Moment::Request, "{'denied': true}"),
        (Moment::Request, "{'price': 1}"),
        (Moment::Request, "{'deny': {'status': 200}}"),
        (Moment::Request, "{'deny': {'status': 500}}"),
        (Moment::Request, "{'deny': {'code': 'No Code'}}"),
        (Moment::Request, "{'deny': {'message': 'two\\nlines'}}"),
        (Moment::Request, "{'labels': {'Team': 'x'}}"),
        (Moment::Request, "{'labels': {'team': 7}}"),
        (Moment::Price, "{'price': -1}"),
        (Moment::Price, "{'price': 1.5}"),
        (Moment::Price, "{'price': '21sat'}"),
        (Moment::Price, "{'settle': false}"),
        (Moment::Response, "{'headers': {'content-type': 'x'}}"),
        (Moment::Response, "{'headers': {'x-payment-response': 'x'}}"),
        (
            Moment::Response,
            "{'headers': {'x-tollkeep-payment': 'charged'}}",
        ),
        (Moment::Response, "{'headers': {'x-a': 'b\\r\\nx-c: d'}}"),
        (Moment::Response, "{'settle': 'no'}"),
    ] {
        let told = told(moment, text);
        assert!(
            matches!(told, Err(StepFailed::Meaning(_))),
            "{text}: {told:?}"
        );
    }
}

#[test]
fn a_price_is_dollars_or_thousandths_of_a_satoshi() {
    for (text, want) in [
        ("7", Some(HookPrice::Usd(NanoUsd::new(7)))),
        (
            "{'nanos': body.n * 1000}",
            Some(HookPrice::Usd(NanoUsd::new(4_000))),
        ),
        ("{'msat': 21000}", Some(HookPrice::Msat(21_000))),
        ("{'msat': -1}", None),
        ("{'nanos': 1, 'msat': 2}", None),
        ("true", None),
    ] {
        let program = Program::new(Moment::Price, text).unwrap();
        assert_eq!(program.price(&facts()).ok(), want, "{text}");
    }
}

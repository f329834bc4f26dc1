//! Hooks of routes, and who is told of events.

use crate::support::Case;
use tollkeep_config::settings::{Hooks, Settings, WebhookEvent};

const UPSTREAM: &str = "upstreams: {api: {url: \"https://api.example\"}}\n";
const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn loaded(yaml: &str) -> Result<Settings, String> {
    let loaded = Case::yaml(&format!("{UPSTREAM}{yaml}")).load()?;
    Ok(loaded.settings)
}

fn of_route(yaml: &str) -> Hooks {
    loaded(yaml).unwrap().routes.remove(0).hooks
}

// PAY-35
#[test]
fn a_list_on_a_route_replaces_the_one_above_it() {
    let yaml = |own: &str| {
        format!(
            "hooks: {{ onRequest: [{{ cel: \"true\" }}, {{ cel: \"false\" }}], \
             on_response: [{{ cel: \"true\" }}] }}\n\
             routes: {{ GET /x: {{ upstream: api, access: free, hooks: {own} }} }}\n"
        )
    };
    for (own, request, response) in [
        ("{}", 2, 1),
        ("{ onRequest: [{ cel: \"true\" }] }", 1, 1),
        ("{ on_request: [] }", 0, 1),
        ("{ onResponse: [] }", 2, 0),
    ] {
        let hooks = of_route(&yaml(own));
        assert_eq!(
            (hooks.request.len(), hooks.response.len()),
            (request, response),
            "{own}"
        );
    }
}

const ASK: &str = "https://hooks.example/ask";

fn route(more: &str) -> String {
    format!("routes: {{ GET /x: {{ upstream: api, access: free, {more} }} }}\n")
}

fn http(url: &str, secret: &str, more: &str) -> String {
    format!("{{ http: {{ url: \"{url}\", secret: \"{secret}\"{more} }} }}")
}

fn refused<const N: usize>(rows: [(&str, String, String); N]) {
    for (name, yaml, want) in rows {
        let problem = loaded(&yaml).expect_err(name);
        assert!(problem.contains(&want), "{name}: {problem}");
    }
}

// PAY-35 PAY-36
#[test]
fn what_is_no_hook_is_told_where() {
    refused([
        (
            "a module",
            "hooks: { onRequest: ./hooks/log.ts }\n".to_owned(),
            "no code is run here. Write `[{cel: \"…\"}]` or `[{http: {url, secret}}]`".to_owned(),
        ),
        (
            "no expression",
            route("hooks: { onRequest: [{ cel: \"request.\" }] }"),
            "routes.\"GET /x\".hooks.on_request[0].cel: column 9: a name was expected".to_owned(),
        ),
        (
            "what is not known yet",
            route("hooks: { onRequest: [{ cel: \"price.nanos > 1\" }] }"),
            "there is no `price` here".to_owned(),
        ),
        (
            "neither",
            "hooks: { onRequest: [{}] }\n".to_owned(),
            "hooks.on_request[0]: wants either `cel` or `http`".to_owned(),
        ),
        (
            "both",
            format!(
                "hooks: {{ onRequest: [{{ cel: \"true\", http: {{ url: \"{ASK}\", secret: {SECRET} }} }}] }}\n"
            ),
            "wants either `cel` or `http`".to_owned(),
        ),
        (
            "an expression that nobody asks",
            "hooks: { onSettled: [{ cel: \"true\" }] }\n".to_owned(),
            "hooks.on_settled[0]: wants `http`: this hook only tells somebody".to_owned(),
        ),
        (
            "an answer that nobody waits for",
            format!(
                "hooks: {{ onError: [{}] }}\n",
                http(ASK, SECRET, ", timeout: 1s")
            ),
            "hooks.on_error[0].http.timeout: has no effect here".to_owned(),
        ),
        (
            "nobody is asked then",
            format!("hooks: {{ onResponse: [{}] }}\n", http(ASK, SECRET, "")),
            "is not supported in `onResponse`: write `cel`".to_owned(),
        ),
    ]);
}

// PAY-27 PAY-37 PAY-80
#[test]
fn whom_nobody_may_ask_and_what_nobody_may_change_is_told_where() {
    refused([
        (
            "a short secret",
            format!("hooks: {{ onRequest: [{}] }}\n", http(ASK, "short", "")),
            "hooks.on_request[0].http.secret: has fewer than 32 characters".to_owned(),
        ),
        (
            "clear text",
            format!(
                "hooks: {{ onRequest: [{}] }}\n",
                http("http://hooks.example", SECRET, "")
            ),
            "is `http` outside of `allow_private`".to_owned(),
        ),
        (
            "a private address",
            format!(
                "hooks: {{ onRequest: [{}] }}\n",
                http("https://10.0.0.1", SECRET, "")
            ),
            "hooks.on_request[0].http.url: ".to_owned(),
        ),
        (
            "too many",
            format!(
                "hooks: {{ onRequest: [{}] }}\n",
                vec!["{ cel: \"true\" }"; 17].join(", ")
            ),
            "has more than 16 steps".to_owned(),
        ),
        (
            "a body that nobody sees",
            route("hooks: { onRequest: [{ cel: \"body.a == 1\" }] }, request: { streaming: true }"),
            "request.streaming: can't be with a price or a hook".to_owned(),
        ),
        (
            "a price without bounds",
            route("price: \"$0\", hooks: { onPriceResolved: [{ cel: \"true\" }] }"),
            "needs `min_price` and `max_price`".to_owned(),
        ),
        (
            "a webhook with a short secret",
            format!("webhooks: [{{ url: \"{ASK}\", secret: abc }}]\n"),
            "webhooks[0].secret: has fewer than 32 characters".to_owned(),
        ),
        (
            "one receiver with two secrets",
            format!(
                "webhooks: [{{ url: \"{ASK}\", secret: {SECRET} }}]\n\
                 hooks: {{ onError: [{{ http: {{ url: \"{ASK}\", secret: {SECRET}x }} }}] }}\n"
            ),
            "webhooks: name https://hooks.example/ask with two secrets".to_owned(),
        ),
        (
            "an event that is none",
            format!("webhooks: [{{ url: \"{ASK}\", secret: {SECRET}, events: [payment.gone] }}]\n"),
            "webhooks[0].events".to_owned(),
        ),
    ]);
}

// PAY-80
#[test]
fn a_webhook_is_told_of_all_events_unless_it_names_some() {
    let yaml = |more: &str| {
        format!("webhooks: [{{ url: \"https://hooks.example/x?y=1\", secret: {SECRET}{more} }}]\n")
    };
    let events = |more: &str| loaded(&yaml(more)).unwrap().webhooks.remove(0).events;
    assert_eq!(events(""), WebhookEvent::ALL);
    assert_eq!(
        events(", style: bolthub, events: [payment.unknown]"),
        [WebhookEvent::PaymentUnknown]
    );
}

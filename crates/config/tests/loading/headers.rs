//! Which fields cross: both forms of `headers`, and what can't be let through.

use crate::support::Case;
use tollkeep_config::settings::HeaderRules;

fn upstream(keys: &str) -> Case {
    Case::yaml(&format!(
        "upstreams: {{api: {{url: 'https://api.example', {keys}}}}}\n"
    ))
}

fn provider(keys: &str) -> Case {
    Case::yaml(&format!(
        "providers: {{openai: {{credentials: [{{secret: '${{K}}'}}], {keys}}}}}\n"
    ))
    .env(&[("K", "v")])
}

/// The rules as one line: what is set; removed; the only ones sent; let back.
fn told(rules: &HeaderRules) -> String {
    let set: Vec<String> = rules
        .set
        .iter()
        .map(|(name, value)| format!("{name}={}", value.expose()))
        .collect();
    let only = rules.only.as_ref().map(|only| only.join(","));
    format!(
        "{}; {}; {}; {}",
        set.join(","),
        rules.remove.join(","),
        only.unwrap_or_else(|| "all".to_owned()),
        rules.returned.join(",")
    )
}

// EDGE-71 EDGE-73
#[test]
fn fields_to_set_stand_by_themselves_or_in_a_section() {
    for (headers, want) in [
        ("timeout: 5s", "; ; all; "),
        ("headers: {}", "; ; all; "),
        (
            "headers: {X-One: '1', x-two: '2'}",
            "x-one=1,x-two=2; ; all; ",
        ),
        ("headers: {set: {X-One: '1'}}", "x-one=1; ; all; "),
        (
            "headers: {set: {allow: '1', request: '2'}}",
            "allow=1,request=2; ; all; ",
        ),
        (
            "headers: {remove: [X-Two], response: {allow: [Set-Cookie]}}",
            "; x-two; all; set-cookie",
        ),
        ("headers: {request: {mode: allow}}", "; ; ; "),
        (
            "headers: {request: {mode: allow}, allow: [Accept, Referer], set: {a: b}}",
            "a=b; ; accept,referer; ",
        ),
        ("forward_origin: true", "; ; all; "),
        ("forward_origin: false", "; origin; all; "),
        (
            "forward_origin: true, headers: {request: {mode: allow}}",
            "; ; origin; ",
        ),
        (
            "forward_origin: false, headers: {request: {mode: allow}}",
            "; ; ; ",
        ),
    ] {
        let settings = upstream(headers).settings();
        assert_eq!(told(&settings.upstreams[0].headers), want, "{headers}");
    }
    for (headers, want) in [
        ("headers: {x-one: '1'}", "x-one=1; ; ; "),
        (
            "forward_headers: [x-a], headers: {allow: [X-B], remove: [OpenAI-Beta], response: {allow: [server]}}",
            "; openai-beta; x-a,x-b; server",
        ),
    ] {
        let settings = provider(headers).settings();
        assert_eq!(told(&settings.providers[0].headers), want, "{headers}");
    }
}

// EDGE-71
#[test]
fn one_field_can_be_set_from_outside_the_file_in_either_form() {
    for path in ["headers.x-one", "headers.set.x-one"] {
        let case = upstream("timeout: 5s").set(&format!("upstreams.api.{path}=1"));
        assert_eq!(
            told(&case.settings().upstreams[0].headers),
            "x-one=1; ; all; ",
            "{path}"
        );
    }
    let lists = upstream("timeout: 5s")
        .set("upstreams.api.headers.allow=x-a,x-b")
        .set("upstreams.api.headers.request.mode=allow");
    assert_eq!(
        told(&lists.settings().upstreams[0].headers),
        "; ; x-a,x-b; "
    );
}

// EDGE-70 EDGE-71 EDGE-73
#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn what_is_ambiguous_or_never_crosses_is_refused_by_name() {
    let beside = "stands beside `set`, `remove`, `allow`, `request` or `response`";
    for (headers, want) in [
        (
            "{x-one: '1', remove: [x-two]}",
            format!("headers.x-one: {beside}"),
        ),
        (
            "{set: {x-one: '1'}, x-two: '2'}",
            format!("headers.x-two: {beside}"),
        ),
        (
            "{set: {}, remvoe: [x]}",
            format!("headers.remvoe: {beside}"),
        ),
        ("{allow: GET}", "headers.allow: is a key here".to_owned()),
        (
            "{Remove: x-one}",
            "headers.Remove: is a key here".to_owned(),
        ),
        ("{set: here}", "headers.set: is a key here".to_owned()),
        (
            "{allow: [x-one]}",
            "headers.allow: has an effect with `request.mode: allow` only".to_owned(),
        ),
        (
            "{set: {x-one: '1'}, remove: [X_One]}",
            "headers.remove: `x-one` is set or allowed too".to_owned(),
        ),
        (
            "{request: {mode: allow}, allow: [x-one], remove: [x-one]}",
            "headers.remove: `x-one` is set or allowed too".to_owned(),
        ),
        ("{request: {mode: some}}", "headers.request.mode".to_owned()),
        ("{request: {modes: deny}}", "did you mean `mode`".to_owned()),
        (
            "{remove: [Host]}",
            "headers.remove[0]: \"Host\" is no field name, or one".to_owned(),
        ),
        ("{remove: ['a b']}", "headers.remove[0]".to_owned()),
    ] {
        let errors = upstream(&format!("headers: {headers}")).errors();
        assert!(errors.contains(&want), "{headers}: {errors}");
    }
    for (names, want) in [
        (
            "Host Content-Length Transfer-Encoding TE Connection",
            "is written by the gateway",
        ),
        (
            "Accept-Encoding X-Request-Id Content-Encoding",
            "is written by the gateway",
        ),
        ("Origin", "is sent by `forward_origin` only"),
        ("COOKIE", "is sent by `forward_cookies` only"),
        (
            "X-Forwarded-For X-Real-IP X-Forwarded-Proto",
            "is sent by `forward_client_ip` only",
        ),
        (
            "Authorization X-Api-Key x_api_key Forwarded CF-Ray PAYMENT-SIGNATURE X-Gateway-Nonce Proxy-Status cookie2",
            "is never sent upstream",
        ),
    ] {
        for name in names.split(' ') {
            let errors = upstream(&format!(
                "headers: {{request: {{mode: allow}}, allow: [{name}]}}"
            ))
            .errors();
            assert!(
                errors.contains("headers.allow[0]") && errors.contains(want),
                "{name}: {errors}"
            );
        }
    }
    let never = "Keep-Alive proxy_status TE Upgrade Strict-Transport-Security X-Tollkeep-Cost \
                 PAYMENT-RESPONSE X-PAYMENT-RESPONSE Macaroon x_session_token Date X-Request-Id Content-Length";
    for name in never.split_whitespace() {
        for case in [upstream, provider] {
            let errors = case(&format!("headers: {{response: {{allow: [{name}]}}}}")).errors();
            assert!(
                errors.contains(&format!("headers.response.allow[0]: \"{name}\""))
                    || errors.contains("is written by the gateway"),
                "{name}: {errors}"
            );
        }
    }
    for (headers, want) in [
        (
            "{allow: [Origin]}",
            "headers.allow[0]: \"Origin\" is never sent upstream",
        ),
        ("{allow: [openai-organization]}", "is never sent upstream"),
        ("{allow: [User-Agent]}", "is written by the gateway"),
        (
            "{request: {mode: deny}}",
            "headers.request: is not supported yet",
        ),
        (
            "{set: {Authorization: '${K}'}}",
            "headers.set.Authorization: carries the credential",
        ),
        ("{remove: [Authorization]}", "carries the credential"),
    ] {
        let errors = provider(&format!("headers: {headers}")).errors();
        assert!(errors.contains(want), "{headers}: {errors}");
    }
}

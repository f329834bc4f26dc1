//! Canaries for every name and prefix that must not cross, in every spelling.

use tollkeep_policy::headers::{
    allowed_values, carries_credential, kept_cookies, llm_request_field_allowed,
    llm_response_field_allowed, provider_field_forbidden, request_field_forbidden,
    request_id_acceptable, response_field_forbidden, response_field_never_returned, same_field,
};

/// EDGE-70 without its last line, one canary or more for each name and prefix.
const REQUEST: &str = "
    Connection Keep-Alive Proxy-Connection Proxy-Authenticate Proxy-Authorization Proxy-Status Proxy- TE Trailer
    Transfer-Encoding Upgrade HTTP2-Settings Expect
    X-Forwarded-For X-Forwarded-Host X-Forwarded-Proto X-Forwarded-Port X-Forwarded-Prefix X-Forwarded-Client-Cert
    Forwarded X-Real-IP X-Client-IP X-Cluster-Client-IP X-Original-URL X-Original-Forwarded-For X-Rewrite-URL
    X-Envoy-Internal X-Envoy-External-Address Via True-Client-IP Client-IP CDN-Loop
    Client-Cert Client-Cert-Chain X-Client-Cert SSL-Client-Verify X-SSL-Client-S-DN
    CF-Connecting-IP CF-Access-Client-Secret Cf-Access-Jwt-Assertion CF-Ray Cdn-Src-Ip X-Vercel-Id
    X-Vercel-Forwarded-For Fastly-Client-IP Fastly-SSL X-Amzn-Trace-Id X-Amz-Cf-Id X-Azure-ClientIP X-Azure-FDID
    X-Akamai-Edgescape Akamai-Origin-Hop X-Appengine-User-Ip X-Cloud-Trace-Context Fly-Client-IP Fly-Region
    Cookie Cookie2
    Authorization X-Api-Key X-Goog-Api-Key Api-Key X-Management-Key PAYMENT-SIGNATURE Payment-Required X-PAYMENT
    X-PAYMENT-RESPONSE X-Session-Token X-Bolthub-Signature Macaroon Grpc-Metadata-Macaroon
    X-Gateway-Signature X-Gateway-Secret X-Gateway-Timestamp X-Tollkeep-Signature X-Tollkeep-Project Tollkeep-Hop
    X-Proxy-User-Id X-Admin-Origin X-Body-Hash X-Accel-Redirect X-Accel-Buffering X-Sendfile X-HTTP-Method-Override
    X-Method-Override
";

/// The last line of EDGE-70, and the fields of LLM-13.
const PROVIDER: &str = "
    Origin Referer Sec-Fetch-Site Sec-CH-UA Sec-WebSocket-Key DNT openai-organization openai-project
    x-goog-user-project api-version
";

/// EDGE-73.
const RESPONSE: &str = "
    Connection Keep-Alive Proxy-Authenticate Proxy-Connection TE Trailer Transfer-Encoding Upgrade HTTP2-Settings
    Set-Cookie Set-Cookie2 Server X-Powered-By X-AspNet-Version X-AspNet-Mvc X-Runtime X-Served-By X-Backend
    X-Backend-Server X-Upstream X-Upstream-Addr Via Strict-Transport-Security Content-Security-Policy
    Content-Security-Policy-Report-Only Public-Key-Pins Public-Key-Pins-Report-Only Expect-CT Alt-Svc NEL Report-To
    Reporting-Endpoints Refresh Clear-Site-Data Service-Worker-Allowed SourceMap Access-Control-Allow-Origin
    Access-Control-Expose-Headers Timing-Allow-Origin WWW-Authenticate Proxy-Status CF-Ray CF-Cache-Status
    X-Amzn-RequestId X-Amz-Cf-Pop X-Amz-Request-Id X-Vercel-Cache Fly-Request-Id openai-organization openai-project
    anthropic-organization-id x-ratelimit-limit-requests x-ratelimit-reset-tokens
    anthropic-ratelimit-tokens-remaining RateLimit RateLimit-Policy RateLimit-Remaining X-Accel-Expires
    X-Tollkeep-Cost X-Gateway-Nonce PAYMENT-RESPONSE Payment-Receipt X-PAYMENT-RESPONSE X-Session-Token
    X-Bolthub-Balance
    X-Content-Type-Options X-Frame-Options X-XSS-Protection Referrer-Policy Cross-Origin-Opener-Policy
    Cross-Origin-Resource-Policy
";

/// What must go through, and near misses of what must not.
const REQUEST_PASSES: &str = "
    Accept Accept-Language Content-Type Content-Encoding User-Agent Range If-None-Match Traceparent Idempotency-Key
    anthropic-version anthropic-beta openai-beta x-stainless-lang x-stainless-os X-Custom Te2 Connections Keep-Alives
    Forwardedx XForwarded-For X-Forwarded X-Real-IPs X-Forward-For Vi Viax Cookies Cookie3 X-Api-Keys My-X-Api-Key
    Payment X-Pay CF Fly FlyX- X-Amz-Date X-Amz-Target X-Amz-Cfx Authorizations Proxy Upgrades Expectation Traile
    X-Gateway X-Tollkeep X-Body-Hashes X-Sendfiles Session-Id
";

const RESPONSE_PASSES: &str = "
    Content-Type Content-Length Cache-Control ETag Last-Modified Location Retry-After Vary Date Link
    Content-Disposition openai-processing-ms X-Custom Servers Server-Timing Set-Cookies Nels Refreshed Rate-Limit
    X-Rate-Limit X-RunTimes X-Am Content-Security X-Content-Type Alt-Service Access-Control Fly
";

/// The name as it may come: any case, and `_` for `-`, which CGI and WSGI can't tell apart.
fn spellings(name: &str) -> Vec<String> {
    let mut chars = name.chars();
    let mixed: String = (0..)
        .zip(name.chars())
        .map(|(at, c)| {
            if at % 2 == 0 {
                c.to_ascii_uppercase()
            } else {
                c.to_ascii_lowercase()
            }
        })
        .collect();
    let mut first_only = name.to_owned();
    if let Some(first) = chars.position(|c| c == '-') {
        first_only.replace_range(first..=first, "_");
    }
    let mut all = vec![
        name.to_owned(),
        name.to_ascii_lowercase(),
        name.to_ascii_uppercase(),
        mixed,
        first_only,
    ];
    let underscored: Vec<String> = all.iter().map(|name| name.replace('-', "_")).collect();
    all.extend(underscored);
    all
}

fn check(names: &str, predicate: impl Fn(&[u8]) -> bool, want: bool) {
    for name in names.split_whitespace() {
        for spelling in spellings(name) {
            assert_eq!(predicate(spelling.as_bytes()), want, "{spelling}");
        }
    }
}

// EDGE-70
#[test]
fn no_forbidden_request_field_passes_in_any_spelling() {
    check(REQUEST, request_field_forbidden, true);
    check(REQUEST, provider_field_forbidden, true);
    check(PROVIDER, provider_field_forbidden, true);
    check(PROVIDER, request_field_forbidden, false);
    check(REQUEST_PASSES, request_field_forbidden, false);
    check(REQUEST_PASSES, provider_field_forbidden, false);
}

// EDGE-73
#[test]
fn no_forbidden_answer_field_passes_in_any_spelling() {
    check(RESPONSE, response_field_forbidden, true);
    check(RESPONSE_PASSES, response_field_forbidden, false);
}

/// Of EDGE-73, what no setting brings back.
const NEVER_RETURNED: &str = "
    Connection Keep-Alive Proxy-Authenticate Proxy-Status TE Trailer Transfer-Encoding Upgrade HTTP2-Settings
    Strict-Transport-Security X-Tollkeep-Cost PAYMENT-RESPONSE Payment-Receipt X-PAYMENT-RESPONSE X-Session-Token
    X-Bolthub-Balance Macaroon Grpc-Metadata-Macaroon
";

// EDGE-73
#[test]
fn of_what_is_barred_settings_bring_back_all_but_framing_hsts_ours_and_payments() {
    check(NEVER_RETURNED, response_field_never_returned, true);
    check(RESPONSE_PASSES, response_field_never_returned, false);
    let never: Vec<_> = NEVER_RETURNED.split_whitespace().collect();
    let bring_back = RESPONSE
        .split_whitespace()
        .filter(|name| !response_field_never_returned(name.as_bytes()));
    for name in bring_back {
        assert!(!never.contains(&name), "{name}");
    }
    for name in [
        "Set-Cookie",
        "Server",
        "WWW-Authenticate",
        "X-RateLimit-Limit",
        "X-Gateway-Nonce",
    ] {
        assert!(!response_field_never_returned(name.as_bytes()), "{name}");
    }
}

// EDGE-24 EDGE-71
#[test]
fn a_name_is_the_same_in_any_case_and_with_underscores() {
    for (one, other, want) in [
        ("X-Key", "x_key", true),
        ("x-key", "X-KEY", true),
        ("", "", true),
        ("x-key", "x-keys", false),
        ("x-key", "x.key", false),
    ] {
        assert_eq!(
            same_field(one.as_bytes(), other.as_bytes()),
            want,
            "{one} {other}"
        );
    }
}

// LLM-6 LLM-13
#[test]
fn providers_get_and_give_only_what_is_listed() {
    for name in [
        "anthropic-version",
        "Anthropic-Beta",
        "OPENAI-BETA",
        "Idempotency-Key",
    ] {
        assert!(llm_request_field_allowed(name.as_bytes()), "{name}");
        assert!(!provider_field_forbidden(name.as_bytes()), "{name}");
    }
    for name in ["Content-Type", "Retry-After", "OpenAI-Processing-Ms"] {
        assert!(llm_response_field_allowed(name.as_bytes()), "{name}");
        assert!(!response_field_forbidden(name.as_bytes()), "{name}");
    }
    let everything_else = [
        REQUEST,
        PROVIDER,
        RESPONSE,
        "x-stainless-lang User-Agent Accept anthropic_version X",
    ];
    for name in everything_else
        .iter()
        .flat_map(|names| names.split_whitespace())
    {
        assert!(!llm_request_field_allowed(name.as_bytes()), "{name}");
        assert!(!llm_response_field_allowed(name.as_bytes()), "{name}");
    }
    assert!(!llm_response_field_allowed(b"x-request-id") && !llm_request_field_allowed(b""));
}

// EDGE-73
#[test]
fn a_value_with_the_sent_credential_in_it_is_found() {
    let credential = b"sk-live-0123456789abcdef";
    #[rustfmt::skip]
    let rows = [
        (&b"sk-live-0123456789abcdef"[..], true),
        (b"Bearer sk-live-0123456789abcdef", true),
        (b"k=sk-live-0123456789abcdef; v=1", true),
        (b"sk-live-0123456789abcde", false),
        (b"SK-LIVE-0123456789ABCDEF", false),
        (b"", false),
    ];
    for (value, want) in rows {
        assert_eq!(
            carries_credential(value, credential),
            want,
            "{}",
            String::from_utf8_lossy(value)
        );
    }
    assert!(
        !carries_credential(b"anything", b""),
        "no credential was sent"
    );
}

// EDGE-74
#[test]
fn a_callers_request_id_is_short_and_plain() {
    let longest = "a".repeat(64);
    for id in ["a", "req_0190.A-z", longest.as_str()] {
        assert!(request_id_acceptable(id.as_bytes()), "{id}");
    }
    let too_long = "a".repeat(65);
    for id in [
        "",
        too_long.as_str(),
        "a b",
        "a/b",
        "a\"",
        "ä",
        "a\n",
        "a,b",
        "{a}",
    ] {
        assert!(!request_id_acceptable(id.as_bytes()), "{id}");
    }
}

// EDGE-71
#[test]
fn cookies_are_kept_by_their_exact_names() {
    let names: [Box<str>; 2] = ["sid".into(), "lang".into()];
    for (sent, want) in [
        (&["sid=1"][..], "sid=1"),
        (&["a=1; sid=2; b=3; lang=de"], "sid=2; lang=de"),
        (&["sid=1;lang=de"], "sid=1; lang=de"),
        (&["a=sid=1; SID=2; sidx=3; xsid=4; sid =5"], ""),
        (&["sid=a=b=="], "sid=a=b=="),
        (&["sid=", "lang=de"], "sid=; lang=de"),
        (&["sid=\"a b\"; x"], "sid=\"a b\""),
        (&["sid", "; ;", "=sid", ""], ""),
        (&["sid=1; sid=2"], "sid=1; sid=2"),
    ] {
        let values = sent.iter().map(|text| text.as_bytes());
        let kept = kept_cookies(values, &names);
        assert_eq!(String::from_utf8(kept).unwrap(), want, "{sent:?}");
    }
}

// LLM-6
#[test]
fn of_a_list_what_is_allowed_is_kept_in_its_order() {
    let kept = |list: &str| allowed_values(list.as_bytes(), |value| value.starts_with(b"a"));
    for (list, want) in [
        ("a1,b, a2 ,,\ta3", "a1,a2,a3"),
        ("b", ""),
        ("", ""),
        (",", ""),
        ("a", "a"),
    ] {
        assert_eq!(kept(list), want.as_bytes(), "{list:?}");
    }
}

//! Origins are compared exactly, and preflights judged by what they ask for.

use tollkeep_policy::cors::{AllowedOrigins, CorsRefusal, CorsRules, Preflight};
use tollkeep_policy::origin::Origin;

const OWN: &str = "https://app.example.com";

/// Values of `Origin` that are not [`OWN`], though each looks like it to somebody.
const STRANGERS: [&str; 56] = [
    "",
    "null",
    "NULL",
    "*",
    "https://",
    "https:",
    "app.example.com",
    "//app.example.com",
    "http://app.example.com",
    "http://app.example.com:443",
    "ws://app.example.com",
    "ftp://app.example.com",
    "file://app.example.com",
    "chrome-extension://app.example.com",
    "httpss://app.example.com",
    "xhttps://app.example.com",
    "https//app.example.com",
    "https:/app.example.com",
    "https:///app.example.com",
    "https:\\\\app.example.com",
    "https://app.example.com/",
    "https://app.example.com//",
    "https://app.example.com/x",
    "https://app.example.com?",
    "https://app.example.com?x",
    "https://app.example.com#",
    "https://app.example.com.",
    "https://app.example.com..",
    "https://.app.example.com",
    "https://app.example.com:80",
    "https://app.example.com:8443",
    "https://app.example.com:0443",
    "https://app.example.com:",
    "https://app.example.com:443:443",
    "https://app.example.com:443x",
    "https://app.example.com:+443",
    "https://app.example.comx",
    "https://xapp.example.com",
    "https://x.app.example.com",
    "https://app-example.com",
    "https://appxexample.com",
    "https://app.example.co",
    "https://app.example.com.evil.test",
    "https://app.example.com@evil.test",
    "https://evil.test@app.example.com",
    "https://user:app@app.example.com",
    "https://evil.test/app.example.com",
    "https://evil.test?https://app.example.com",
    "https://evil.test#https://app.example.com",
    "https://app.example.com,https://evil.test",
    "https://app.example.com https://evil.test",
    "https://*.example.com",
    "https://example.com",
    "https://app%2eexample.com",
    "https://app.example\u{3002}com",
    "https://[::1]",
];

fn rules() -> CorsRules {
    CorsRules {
        origins: AllowedOrigins::Listed(vec![
            "https://other.example".parse().unwrap(),
            OWN.parse().unwrap(),
        ]),
        methods: None,
        headers: vec!["content-type".into(), "authorization".into()],
    }
}

fn judge(rules: &CorsRules, method: Option<&str>, headers: &[&str]) -> Result<(), CorsRefusal> {
    rules.judge(Preflight {
        origin: OWN.as_bytes(),
        method: method.map(str::as_bytes),
        headers: headers.iter().map(|value| value.as_bytes()),
    })
}

// EDGE-81
#[test]
fn sixty_origins_meet_one_that_is_allowed_and_only_itself_passes() {
    let rules = rules();
    for sent in STRANGERS {
        assert_eq!(rules.allows(sent.as_bytes()), None, "{sent}");
    }
    for same in [
        OWN,
        "https://app.example.com:443",
        "HTTPS://APP.EXAMPLE.COM",
        "https://App.Example.com:443",
    ] {
        assert_eq!(rules.allows(same.as_bytes()), Some(1), "{same}");
    }
}

// EDGE-81
#[test]
fn an_origin_is_read_in_one_form_and_nothing_else_is_one() {
    for (written, want) in [
        ("https://app.example.com", OWN),
        ("HTTPS://App.Example.com:443", OWN),
        ("http://localhost:80", "http://localhost"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://[2001:DB8::1]:3000", "http://[2001:db8::1]:3000"),
        ("chrome-extension://abcdefgh", "chrome-extension://abcdefgh"),
    ] {
        let origin: Origin = written.parse().unwrap();
        assert_eq!(origin.as_str(), want);
        assert!(origin.is(written.as_bytes()), "{written}");
    }
    for written in [
        "",
        "*",
        "null",
        "https://",
        "https://app.example.com/",
        "https://*.example.com",
        "https://user@app.example.com",
        "https://app.example.com:0",
        "https://app.example.com:070",
        "https://app.example.com:70000",
        "https://app.example.com\r\nx: y",
        "https://a b",
        "app.example.com",
    ] {
        assert!(written.parse::<Origin>().is_err(), "{written}");
    }
}

/// Name, rules, method asked for, values of the fields asked for, verdict.
type Row<'a> = (
    &'a str,
    &'a CorsRules,
    Option<&'a str>,
    &'a [&'a str],
    Result<(), CorsRefusal>,
);

// EDGE-82
#[test]
fn a_preflight_is_allowed_what_is_listed_and_nothing_more() {
    let any = rules();
    let posts = CorsRules {
        methods: Some(vec!["POST".into()]),
        ..rules()
    };
    let many = vec!["content-type"; 65].join(",");
    #[rustfmt::skip]
    let rows: &[Row<'_>] = &[
        ("nothing asked", &any, Some("POST"), &[], Ok(())),
        ("a listed field", &any, Some("POST"), &["content-type"], Ok(())),
        ("in another case", &any, Some("POST"), &["Content-Type, AUTHORIZATION"], Ok(())),
        ("in two lines", &any, Some("POST"), &["content-type", "authorization"], Ok(())),
        ("with empty elements", &any, Some("POST"), &["content-type,, authorization,"], Ok(())),
        ("an unlisted field", &any, Some("POST"), &["content-type, x-y"], Err(CorsRefusal::Header)),
        ("in the second line", &any, Some("POST"), &["content-type", "x-y"], Err(CorsRefusal::Header)),
        ("part of a name", &any, Some("POST"), &["content"], Err(CorsRefusal::Header)),
        ("a wildcard", &any, Some("POST"), &["*"], Err(CorsRefusal::Header)),
        ("too many fields", &any, Some("POST"), &[&many], Err(CorsRefusal::Header)),
        ("two methods", &any, None, &[], Err(CorsRefusal::Method)),
        ("a listed method", &posts, Some("POST"), &[], Ok(())),
        ("an unlisted method", &posts, Some("PUT"), &[], Err(CorsRefusal::Method)),
        ("a method in another case", &posts, Some("post"), &[], Err(CorsRefusal::Method)),
    ];
    for (name, rules, method, headers, want) in rows {
        assert_eq!(judge(rules, *method, headers), *want, "{name}");
    }
    let stranger = CorsRules {
        origins: AllowedOrigins::Listed(Vec::new()),
        ..rules()
    };
    assert_eq!(
        judge(&stranger, Some("POST"), &[]),
        Err(CorsRefusal::Origin)
    );
    let all = CorsRules {
        origins: AllowedOrigins::All,
        ..rules()
    };
    assert_eq!(judge(&all, Some("POST"), &[]), Ok(()));
}

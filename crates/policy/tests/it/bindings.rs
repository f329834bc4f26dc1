//! Bindings of a token: each one with its nearest refused neighbour.

use ipnet::IpNet;
use std::collections::BTreeMap;
use tollkeep_policy::permission::{BindingFacts, BindingRefusal, Bindings, parse_network};

/// Owned bindings, as a store has them.
#[derive(Default)]
struct Bound {
    ips: Vec<IpNet>,
    origins: Vec<String>,
    headers: BTreeMap<String, Vec<String>>,
    methods: Vec<String>,
    routes: Vec<String>,
    models: Vec<String>,
}

impl Bound {
    fn view(&self) -> Bindings<'_> {
        Bindings {
            ips: &self.ips,
            origins: &self.origins,
            headers: &self.headers,
            methods: &self.methods,
            routes: &self.routes,
            models: &self.models,
        }
    }
}

fn texts(list: &[&str]) -> Vec<String> {
    list.iter().map(ToString::to_string).collect()
}

#[derive(Clone)]
struct Request {
    ip: &'static str,
    method: &'static str,
    path: &'static str,
    route: Option<&'static str>,
    fields: Vec<(&'static str, &'static str)>,
}

fn request() -> Request {
    Request {
        ip: "10.1.2.3",
        method: "POST",
        path: "/v1/chat/completions",
        route: Some("chat"),
        fields: Vec::new(),
    }
}

fn check(bound: &Bound, request: &Request) -> Result<(), BindingRefusal> {
    let fields = request
        .fields
        .iter()
        .map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let facts = BindingFacts {
        ip: request.ip.parse().unwrap(),
        method: request.method,
        path: request.path,
        route: request.route,
        fields,
    };
    bound.view().check(&facts)
}

// ID-22
#[test]
fn what_is_not_bound_is_free() {
    let free = Bound::default();
    assert_eq!(check(&free, &request()), Ok(()));
    assert_eq!(free.view().check_model("any"), Ok(()));
    assert_eq!(free.view().validate(), Ok(()));
}

// ID-22
#[test]
fn addresses_are_bound_by_network() {
    let ips = [
        "10.1.2.0/24",
        "192.0.2.7",
        "2001:db8::/48",
        "::ffff:172.16.0.0/108",
    ];
    let bound = Bound {
        ips: ips.iter().map(|net| parse_network(net).unwrap()).collect(),
        ..Bound::default()
    };
    #[rustfmt::skip]
    let rows = [
        ("10.1.2.0", Ok(())),
        ("10.1.2.255", Ok(())),
        ("10.1.1.255", Err(BindingRefusal::Ip)),
        ("10.1.3.0", Err(BindingRefusal::Ip)),
        ("::ffff:10.1.2.3", Ok(())),
        ("192.0.2.7", Ok(())),
        ("192.0.2.8", Err(BindingRefusal::Ip)),
        ("2001:db8:0:ffff::1", Ok(())),
        ("2001:db8:1::", Err(BindingRefusal::Ip)),
        ("172.31.255.255", Ok(())),
        ("172.32.0.0", Err(BindingRefusal::Ip)),
    ];
    for (ip, want) in rows {
        assert_eq!(check(&bound, &Request { ip, ..request() }), want, "{ip}");
    }
}

// ID-22
#[test]
fn origins_are_bound_exactly() {
    let bound = Bound {
        origins: texts(&["https://app.example.com", "http://localhost:3000"]),
        ..Bound::default()
    };
    assert_eq!(
        check(&bound, &request()),
        Err(BindingRefusal::OriginMissing)
    );
    for origin in [
        "https://app.example.com",
        "HTTPS://APP.example.COM",
        "https://app.example.com:443",
        "http://localhost:3000",
    ] {
        let sent = Request {
            fields: vec![("Origin", origin)],
            ..request()
        };
        assert_eq!(check(&bound, &sent), Ok(()), "{origin}");
    }
    for origin in [
        "",
        "null",
        "*",
        "https://app.example.com/",
        "https://app.example.com.",
        "https://app.example.com.evil.example",
        "https://evilapp.example.com",
        "https://evil.example/https://app.example.com",
        "https://xapp.example.com",
        "https://example.com",
        "https://www.app.example.com",
        "http://app.example.com",
        "http://app.example.com:443",
        "https://app.example.com:80",
        "https://app.example.com:8443",
        "https://app.example.com:443:443",
        "https://app.example.com@evil.example",
        "https://user@app.example.com",
        " https://app.example.com",
        "https://app.example.com ",
        "https://app.example.com,https://app.example.com",
        "https://app_example.com",
        "app.example.com",
        "//app.example.com",
        "wss://app.example.com",
        "https://app.example.com\u{0}",
        "https://app.еxample.com",
        "http://localhost",
        "http://localhost:80",
        "http://127.0.0.1:3000",
    ] {
        let sent = Request {
            fields: vec![("Origin", origin)],
            ..request()
        };
        assert_eq!(
            check(&bound, &sent),
            Err(BindingRefusal::Origin),
            "{origin}"
        );
    }
    let twice = Request {
        fields: vec![("Origin", "https://app.example.com"); 2],
        ..request()
    };
    assert_eq!(check(&bound, &twice), Err(BindingRefusal::Origin));
}

// ID-22
#[test]
fn bound_fields_must_stand_there_once_with_an_allowed_value() {
    let allowed = BTreeMap::from([("X-PROXY-USER-ID".to_owned(), texts(&["alice", "team-*"]))]);
    let bound = Bound {
        headers: allowed,
        ..Bound::default()
    };
    #[rustfmt::skip]
    let rows = [
        ("exact", vec![("X-Proxy-User-Id", "alice")], Ok(())),
        ("other case of the name", vec![("x-proxy-user-id", "alice")], Ok(())),
        ("glob", vec![("X-PROXY-USER-ID", "team-red")], Ok(())),
        ("beside others", vec![("Accept", "*/*"), ("X-Proxy-User-Id", "alice")], Ok(())),
        ("missing", vec![], Err(BindingRefusal::Header)),
        ("other field", vec![("X-Proxy-User", "alice")], Err(BindingRefusal::Header)),
        ("other value", vec![("X-Proxy-User-Id", "mallory")], Err(BindingRefusal::Header)),
        ("other case of the value", vec![("X-Proxy-User-Id", "Alice")], Err(BindingRefusal::Header)),
        ("longer", vec![("X-Proxy-User-Id", "alice2")], Err(BindingRefusal::Header)),
        ("list", vec![("X-Proxy-User-Id", "alice, mallory")], Err(BindingRefusal::Header)),
        ("empty", vec![("X-Proxy-User-Id", "")], Err(BindingRefusal::Header)),
        ("twice", vec![("X-Proxy-User-Id", "alice"), ("x-proxy-user-id", "alice")], Err(BindingRefusal::Header)),
    ];
    for (name, fields, want) in rows {
        assert_eq!(
            check(
                &bound,
                &Request {
                    fields,
                    ..request()
                }
            ),
            want,
            "{name}"
        );
    }
}

// ID-22
#[test]
fn methods_and_routes_are_bound_on_borders() {
    let methods = Bound {
        methods: texts(&["POST"]),
        ..Bound::default()
    };
    #[rustfmt::skip]
    let rows = [
        ("POST", Ok(())),
        ("GET", Err(BindingRefusal::Method)),
        ("post", Err(BindingRefusal::Method)),
        ("POSTX", Err(BindingRefusal::Method)),
    ];
    for (method, want) in rows {
        assert_eq!(
            check(
                &methods,
                &Request {
                    method,
                    ..request()
                }
            ),
            want,
            "{method}"
        );
    }
    let routes = Bound {
        routes: texts(&["/v1/chat", "/files/", "embed"]),
        ..Bound::default()
    };
    #[rustfmt::skip]
    let rows = [
        ("/v1/chat", None, Ok(())),
        ("/v1/chat/completions", None, Ok(())),
        ("/v1/chatter", None, Err(BindingRefusal::Route)),
        ("/v1", None, Err(BindingRefusal::Route)),
        ("/x/v1/chat", None, Err(BindingRefusal::Route)),
        ("/V1/chat", None, Err(BindingRefusal::Route)),
        ("/files/a", None, Ok(())),
        ("/files", None, Err(BindingRefusal::Route)),
        ("/v1/embeddings", Some("embed"), Ok(())),
        ("/v1/embeddings", Some("embedding"), Err(BindingRefusal::Route)),
        ("/embed", None, Err(BindingRefusal::Route)),
    ];
    for (path, route, want) in rows {
        assert_eq!(
            check(
                &routes,
                &Request {
                    path,
                    route,
                    ..request()
                }
            ),
            want,
            "{path} {route:?}"
        );
    }
    let everything = Bound {
        routes: texts(&["/"]),
        ..Bound::default()
    };
    assert_eq!(check(&everything, &request()), Ok(()));
}

// ID-22
#[test]
fn models_are_bound_by_glob() {
    let bound = Bound {
        models: texts(&["gpt-4o-mini", "claude-*"]),
        ..Bound::default()
    };
    assert_eq!(
        check(&bound, &request()),
        Ok(()),
        "the model is not known yet"
    );
    #[rustfmt::skip]
    let rows = [
        ("gpt-4o-mini", Ok(())),
        ("claude-sonnet-4", Ok(())),
        ("gpt-4o", Err(BindingRefusal::Model)),
        ("gpt-4o-mini-x", Err(BindingRefusal::Model)),
        ("xclaude-3", Err(BindingRefusal::Model)),
        ("", Err(BindingRefusal::Model)),
    ];
    for (model, want) in rows {
        assert_eq!(bound.view().check_model(model), want, "{model}");
    }
}

#[test]
fn all_bindings_must_hold_and_have_their_own_reason() {
    let bound = Bound {
        ips: vec![parse_network("10.1.2.0/24").unwrap()],
        methods: texts(&["POST"]),
        ..Bound::default()
    };
    assert_eq!(check(&bound, &request()), Ok(()));
    assert_eq!(
        check(
            &bound,
            &Request {
                method: "GET",
                ..request()
            }
        ),
        Err(BindingRefusal::Method)
    );
    assert_eq!(
        check(
            &bound,
            &Request {
                ip: "10.1.3.3",
                ..request()
            }
        ),
        Err(BindingRefusal::Ip)
    );
    assert_eq!(BindingRefusal::Method.label(), "binding_method");
}

#[test]
fn networks_are_read_or_say_why_not() {
    #[rustfmt::skip]
    let rows = [
        ("10.1.2.0/24", "10.1.2.0/24"),
        ("10.1.2.3", "10.1.2.3/32"),
        ("2001:db8::1", "2001:db8::1/128"),
        ("::ffff:10.1.2.3", "10.1.2.3/32"),
        ("::ffff:10.1.2.0/120", "10.1.2.0/24"),
        ("::/0", "::/0"),
    ];
    for (text, want) in rows {
        assert_eq!(parse_network(text).unwrap().to_string(), want, "{text}");
    }
    #[rustfmt::skip]
    let rows = [
        ("10.1.2.3/24", "`10.1.2.0/24`"),
        ("10.1.2.0/33", "not an address"),
        ("10.1.2", "not an address"),
        ("*", "not an address"),
        ("", "not an address"),
    ];
    for (text, told) in rows {
        let error = parse_network(text).unwrap_err().to_string();
        assert!(
            error.starts_with("bindings.ips: ") && error.contains(told),
            "{error}"
        );
    }
}

#[test]
fn entries_that_could_never_match_are_not_stored() {
    let many = vec!["x".to_owned(); 257];
    let long = "x".repeat(257);
    let headers = |entries: &[(&str, &[&str])]| {
        let headers = entries
            .iter()
            .map(|(name, allowed)| ((*name).to_owned(), texts(allowed)))
            .collect();
        Bound {
            headers,
            ..Bound::default()
        }
    };
    let origin = |text: &str| Bound {
        origins: texts(&[text]),
        ..Bound::default()
    };
    #[rustfmt::skip]
    let rows = [
        ("origin with path", origin("https://a.example/"), "origins"),
        ("origin with wildcard", origin("https://*.example"), "origins"),
        ("origin with user", origin("https://u@a.example"), "origins"),
        ("origin null", origin("null"), "origins"),
        ("origin without host", origin("https://"), "origins"),
        ("origin with bad port", origin("https://a.example:070"), "origins"),
        ("method in small letters", Bound { methods: texts(&["post"]),..Bound::default() }, "methods"),
        ("method nobody has", Bound { methods: texts(&["TRACE"]),..Bound::default() }, "methods"),
        ("empty route", Bound { routes: texts(&[""]),..Bound::default() }, "routes"),
        ("control in a route", Bound { routes: texts(&["/a\n"]),..Bound::default() }, "routes"),
        ("long model", Bound { models: vec![long],..Bound::default() }, "models"),
        ("many models", Bound { models: many,..Bound::default() }, "models"),
        ("name with underscore", headers(&[("x_user", &["a"])]), "headers"),
        ("empty name", headers(&[("", &["a"])]), "headers"),
        ("no value", headers(&[("x-user", &[])]), "headers"),
        ("empty value", headers(&[("x-user", &[""])]), "headers"),
        ("name in two cases", headers(&[("X-User", &["a"]), ("x-user", &["b"])]), "headers"),
    ];
    for (name, bound, want) in rows {
        assert_eq!(bound.view().validate().unwrap_err().member, want, "{name}");
    }
    for bound in [
        origin("https://app.example.com:8443"),
        origin("http://[2001:db8::1]:3000"),
        origin("chrome-extension://abcdefgh"),
        headers(&[("X-User", &["a", "b-*"]), ("X-Team", &["c"])]),
        Bound {
            methods: texts(&["GET", "OPTIONS"]),
            ..Bound::default()
        },
    ] {
        assert_eq!(bound.view().validate(), Ok(()));
    }
}

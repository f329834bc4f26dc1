//! The egress door beyond the shared cases: texts, ports, exceptions, our own listeners.

use proptest::prelude::*;
use std::net::SocketAddr;
use tollkeep_policy::egress::{
    ADDRESSES_MAX, EgressPolicy, EgressReason, EgressUrl, Exceptions, Giver, Host, Purpose, Scheme,
    parse_url,
};

fn operator(text: &str) -> EgressUrl {
    parse_url(text, Purpose::Upstream, Giver::Operator).unwrap()
}

fn private(nets: &[&str]) -> Exceptions {
    Exceptions {
        allow_private: nets.iter().map(|net| net.parse().unwrap()).collect(),
        allow_metadata: false,
    }
}

fn addrs(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn a_url_is_carried_in_parts() {
    #[rustfmt::skip]
    let rows = [
        ("https://api.example.com", "api.example.com", 443, "api.example.com", "", None, "https://api.example.com/"),
        ("HTTPS://API.Example.com:443/v1/", "api.example.com", 443, "api.example.com", "/v1", None, "https://api.example.com/v1/"),
        ("http://api.example.com:8000/a/../b?c=d", "api.example.com", 8000, "api.example.com:8000", "/b", Some("c=d"), "http://api.example.com:8000/b?c=d"),
        ("http://[2606:4700:0::1]/", "[2606:4700::1]", 80, "[2606:4700::1]", "", None, "http://[2606:4700::1]/"),
        ("https://[2606:4700::1]:80/x", "[2606:4700::1]", 80, "[2606:4700::1]:80", "/x", None, "https://[2606:4700::1]:80/x"),
        ("https://api.example.com:/x", "api.example.com", 443, "api.example.com", "/x", None, "https://api.example.com/x"),
        ("https://under_score.example.com/", "under_score.example.com", 443, "under_score.example.com", "", None, "https://under_score.example.com/"),
    ];
    for (text, host, port, authority, path, query, shown) in rows {
        let url = operator(text);
        assert_eq!(url.host().to_string(), host, "{text}");
        assert_eq!((url.port(), url.authority()), (port, authority), "{text}");
        assert_eq!((url.path(), url.query()), (path, query), "{text}");
        assert_eq!(url.to_string(), shown, "{text}");
        assert_eq!(
            url.origin(),
            format!("{}://{authority}", url.scheme().as_str()),
            "{text}"
        );
    }
}

// EDGE-95
#[test]
fn texts_that_need_repair_are_refused() {
    use EgressReason::{HostSyntax, Port, Scheme, Userinfo};
    let long_name = format!("https://{}.com/", "a1.".repeat(83) + "abc");
    let long_label = format!("https://{}.com/", "a".repeat(64));
    let long_url = format!("https://api.example.com/{}", "a".repeat(8_192));
    #[rustfmt::skip]
    let rows = [
        ("no scheme", "api.example.com", Scheme),
        ("blank in front", " https://api.example.com/", Scheme),
        ("empty userinfo", "https://@api.example.com/", Userinfo),
        ("userinfo without password", "https://user@api.example.com/", Userinfo),
        ("fullwidth at", "https://user\u{ff20}api.example.com/", HostSyntax),
        ("percent in the host", "https://api%2eexample.com/", HostSyntax),
        ("fullwidth percent", "https://api\u{ff05}2e.example.com/", HostSyntax),
        ("fullwidth slash", "https://api.example.com\u{ff0f}@evil.example/", Userinfo),
        ("hash", "https://api.example.com#/", HostSyntax),
        ("hash in the path", "https://api.example.com/#", HostSyntax),
        ("backslash for slash", "https:\\\\api.example.com/", HostSyntax),
        ("backslash in the path", "https://api.example.com/\\x", HostSyntax),
        ("blank in the path", "https://api.example.com/a b", HostSyntax),
        ("no-break space", "https://api.example.com/\u{a0}", HostSyntax),
        ("ideographic space", "https://api.example.com/\u{3000}", HostSyntax),
        ("NUL", "https://api.example.com/\0", HostSyntax),
        ("C1 control", "https://api.example.com/\u{85}", HostSyntax),
        ("delete", "https://api.example.com/\u{7f}", HostSyntax),
        ("three slashes", "https:///api.example.com/", HostSyntax),
        ("no slashes", "https:api.example.com", HostSyntax),
        ("only a port", "https://:443/", HostSyntax),
        ("trailing dot", "https://api.example.com./", HostSyntax),
        ("leading dot", "https://.example.com/", HostSyntax),
        ("two dots", "https://api..example.com/", HostSyntax),
        ("star", "https://*.example.com/", HostSyntax),
        ("tilde", "https://api~.example.com/", HostSyntax),
        ("label of 64", &long_label, HostSyntax),
        ("name of 256", &long_name, HostSyntax),
        ("url of 8 KiB", &long_url, HostSyntax),
        ("zone id", "https://[fe80::1%eth0]/", HostSyntax),
        ("open bracket", "https://[2606:4700::1/", HostSyntax),
        ("future address", "https://[v1.x]/", HostSyntax),
        ("number too large", "https://256.1.1.1/", HostSyntax),
        ("five parts", "https://1.2.3.4.5/", HostSyntax),
        ("port with letters", "https://api.example.com:4a/", Port),
        ("port with sign", "https://api.example.com:+443/", Port),
        ("port too large", "https://api.example.com:65536/", Port),
    ];
    for (name, text, want) in rows {
        #[rustfmt::skip]
        let rows = [
            (Purpose::Upstream, Giver::Operator),
            (Purpose::Webhook, Giver::Tenant),
        ];
        for (purpose, giver) in rows {
            let reason = parse_url(text, purpose, giver).map_err(|refusal| refusal.reason());
            assert_eq!(reason.unwrap_err(), want, "{name}");
        }
    }
}

// EDGE-95
#[test]
fn names_of_253_bytes_and_labels_of_63_pass() {
    let name = format!("{}{}.com", "a1.".repeat(82), "abc");
    assert_eq!(name.len(), 253);
    for host in [name, format!("{}.example.com", "a".repeat(63))] {
        let url = parse_url(&format!("https://{host}/"), Purpose::Webhook, Giver::Tenant).unwrap();
        assert_eq!(url.host(), &Host::Name(host.into()));
    }
}

// EDGE-95
#[test]
fn each_use_has_its_schemes() {
    use Giver::{Operator, Tenant};
    use Purpose::{Provider, Relay, Upstream, Webhook};
    #[rustfmt::skip]
    let rows = [
        ("http", Upstream, Operator, Some(Scheme::Http)),
        ("https", Provider, Operator, Some(Scheme::Https)),
        ("ws", Upstream, Operator, None),
        ("wss", Provider, Operator, None),
        ("ws", Relay, Operator, Some(Scheme::Ws)),
        ("wss", Relay, Tenant, Some(Scheme::Wss)),
        ("ws", Relay, Tenant, None),
        ("https", Relay, Tenant, None),
        ("http", Webhook, Tenant, None),
        ("https", Webhook, Tenant, Some(Scheme::Https)),
        ("ftp", Webhook, Operator, None),
    ];
    for (scheme, purpose, giver, want) in rows {
        let parsed = parse_url(&format!("{scheme}://api.example.com/"), purpose, giver);
        let got = parsed
            .map(|url| url.scheme())
            .map_err(|refusal| refusal.reason());
        assert_eq!(
            got,
            want.ok_or(EgressReason::Scheme),
            "{scheme} {purpose:?} {giver:?}"
        );
    }
}

/// An operator may write an address in any form the URL standard reads; it is judged as what it is.
// EDGE-95
#[test]
fn number_forms_are_judged_by_their_value() {
    let policy = EgressPolicy::default();
    for text in [
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "127.0.0.1.",
        "１２７.0.0.1",
        "127。0。0。1",
    ] {
        let text = format!("http://{text}/");
        let url = operator(&text);
        assert_eq!(url.host(), &Host::V4([127, 0, 0, 1].into()), "{text}");
        let refusal = policy.admit(&url, &Exceptions::default()).unwrap_err();
        assert_eq!(refusal.reason(), EgressReason::Private, "{text}");
        assert_eq!(
            policy.admit(&url, &private(&["127.0.0.1/32"])),
            Ok(()),
            "{text}"
        );
        let tenant = parse_url(
            &text.replace("http:", "https:"),
            Purpose::Webhook,
            Giver::Tenant,
        );
        assert_eq!(
            tenant.unwrap_err().reason(),
            EgressReason::HostSyntax,
            "{text}"
        );
    }
}

// EDGE-95
#[test]
fn ports_are_judged_by_who_gave_them() {
    let plain = EgressPolicy::default();
    let widened = EgressPolicy::new(vec![8443], vec![25], Vec::new());
    #[rustfmt::skip]
    let rows = [
        (443, Giver::Tenant, true, true),
        (80, Giver::Tenant, true, true),
        (8443, Giver::Tenant, false, true),
        (8444, Giver::Tenant, false, false),
        (25, Giver::Tenant, false, false),
        (8444, Giver::Operator, true, true),
        (11434, Giver::Operator, true, true),
        (25, Giver::Operator, false, true),
        (6379, Giver::Operator, false, false),
        (0, Giver::Operator, false, false),
        (65535, Giver::Operator, true, true),
    ];
    for (port, giver, by_default, when_widened) in rows {
        let url = parse_url(
            &format!("https://api.example.com:{port}/"),
            Purpose::Webhook,
            giver,
        )
        .unwrap();
        for (policy, want) in [(&plain, by_default), (&widened, when_widened)] {
            let got = policy
                .admit(&url, &Exceptions::default())
                .map_err(|refusal| refusal.reason());
            assert_eq!(
                got,
                if want {
                    Ok(())
                } else {
                    Err(EgressReason::Port)
                },
                "{port} {giver:?}"
            );
        }
    }
    let unblocked_zero = EgressPolicy::new(vec![0], vec![0], Vec::new());
    assert!(
        unblocked_zero
            .admit(
                &operator("http://api.example.com:0/"),
                &Exceptions::default()
            )
            .is_err()
    );
}

// EDGE-97
#[test]
fn exceptions_lift_private_addresses_and_nothing_else() {
    let policy = EgressPolicy::default();
    let with_metadata = |nets: &[&str]| Exceptions {
        allow_metadata: true,
        ..private(nets)
    };
    let everything = ["0.0.0.0/0", "::/0"];
    #[rustfmt::skip]
    let rows = [
        ("private, listed", "10.1.2.3", private(&["10.1.2.0/24"]), Ok(())),
        ("private, not listed", "10.1.3.3", private(&["10.1.2.0/24"]), Err(EgressReason::Private)),
        ("loopback v6, listed", "[::1]", private(&["::1/128"]), Ok(())),
        ("loopback v6, v4 listed", "[::1]", private(&["127.0.0.0/8"]), Err(EgressReason::Private)),
        ("unique local, listed", "[fd12::1]", private(&["fd12::/16"]), Ok(())),
        ("metadata, listed", "169.254.169.254", private(&["169.254.0.0/16"]), Err(EgressReason::Metadata)),
        ("metadata, allowed", "169.254.169.254", with_metadata(&["169.254.0.0/16"]), Ok(())),
        ("metadata, allowed elsewhere", "169.254.169.254", with_metadata(&["10.0.0.0/8"]), Err(EgressReason::Metadata)),
        ("metadata, allowed nowhere", "169.254.169.254", with_metadata(&[]), Err(EgressReason::Metadata)),
        ("metadata among shared", "100.100.100.200", private(&["100.64.0.0/10"]), Err(EgressReason::Metadata)),
        ("metadata v6", "[fd00:ec2::254]", private(&["fd00::/8"]), Err(EgressReason::Metadata)),
        ("unspecified", "0.0.0.0", with_metadata(&everything), Err(EgressReason::Special)),
        ("unspecified v6", "[::]", with_metadata(&everything), Err(EgressReason::Special)),
        ("multicast", "224.0.0.1", with_metadata(&everything), Err(EgressReason::Special)),
        ("mapped", "[::ffff:10.1.2.3]", with_metadata(&everything), Err(EgressReason::EmbeddedV4)),
        ("nat64", "[64:ff9b::a01:203]", with_metadata(&everything), Err(EgressReason::EmbeddedV4)),
        ("refused name with a list", "redis", private(&["10.0.0.0/8"]), Ok(())),
        ("refused name without", "redis", Exceptions::default(), Err(EgressReason::Name)),
        ("refused name, only metadata", "metadata", with_metadata(&[]), Err(EgressReason::Name)),
    ];
    for (name, host, exceptions, want) in rows {
        let got = policy.admit(&operator(&format!("http://{host}/")), &exceptions);
        assert_eq!(got.map_err(|refusal| refusal.reason()), want, "{name}");
    }
}

// EDGE-97
#[test]
fn a_tenant_has_no_exceptions() {
    let policy = EgressPolicy::default();
    let all = Exceptions {
        allow_private: vec!["0.0.0.0/0".parse().unwrap()],
        allow_metadata: true,
    };
    #[rustfmt::skip]
    let rows = [
        ("https://10.1.2.3/", EgressReason::Private),
        ("https://169.254.169.254/", EgressReason::Metadata),
        ("https://localhost/", EgressReason::Name),
    ];
    for (text, want) in rows {
        let url = parse_url(text, Purpose::Webhook, Giver::Tenant).unwrap();
        assert_eq!(
            policy.admit(&url, &all).unwrap_err().reason(),
            want,
            "{text}"
        );
    }
}

// EDGE-97 EDGE-98
#[test]
fn a_whole_answer_is_vetted() {
    let policy = EgressPolicy::default();
    let listed = private(&["127.0.0.1/32", "::1/128", "10.0.0.0/8"]);
    #[rustfmt::skip]
    let rows = [
        ("local name, listed", "localhost", &listed, &["127.0.0.1:80", "[::1]:80"][..], Ok(2)),
        ("local name, one not listed", "localhost", &listed, &["127.0.0.1:80", "127.0.0.2:80"], Err(EgressReason::MixedAnswer)),
        ("local name, public", "redis", &listed, &["93.184.216.34:80"], Err(EgressReason::Name)),
        ("local name, also public", "redis", &listed, &["10.0.0.1:80", "93.184.216.34:80"], Err(EgressReason::MixedAnswer)),
        ("public name, listed and public", "api.example.com", &listed, &["10.0.0.1:80", "93.184.216.34:80"], Ok(2)),
        ("public name, private", "api.example.com", &Exceptions::default(), &["10.0.0.1:80", "10.0.0.2:80"], Err(EgressReason::Private)),
        ("first of several reasons", "api.example.com", &Exceptions::default(), &["0.0.0.0:80", "10.0.0.2:80"], Err(EgressReason::Special)),
        ("bad one first", "api.example.com", &Exceptions::default(), &["10.0.0.1:80", "93.184.216.34:80"], Err(EgressReason::MixedAnswer)),
        ("none", "api.example.com", &Exceptions::default(), &[], Err(EgressReason::Dns)),
    ];
    for (name, host, exceptions, answer, want) in rows {
        let url = operator(&format!("http://{host}/"));
        let vetted = policy.vet(&url, exceptions, &addrs(answer));
        assert_eq!(
            vetted
                .map(|vetted| vetted.len())
                .map_err(|refusal| refusal.reason()),
            want,
            "{name}"
        );
    }
}

// EDGE-98
#[test]
fn sixty_four_addresses_are_the_most() {
    let policy = EgressPolicy::default();
    let url = operator("http://api.example.com/");
    let answer = |count: usize| -> Vec<SocketAddr> {
        (0..count)
            .map(|at| SocketAddr::from(([93, 184, 216, u8::try_from(at).unwrap()], 80)))
            .collect()
    };
    assert_eq!(
        policy
            .vet(&url, &Exceptions::default(), &answer(ADDRESSES_MAX))
            .unwrap()
            .len(),
        64
    );
    let refusal = policy
        .vet(&url, &Exceptions::default(), &answer(ADDRESSES_MAX + 1))
        .unwrap_err();
    assert_eq!(refusal.reason(), EgressReason::TooMany);
}

// EDGE-101
#[test]
fn our_own_listeners_are_never_dialled() {
    let listeners = [
        "127.0.0.1:8317",
        "0.0.0.0:9000",
        "[::]:9001",
        "93.184.216.34:8443",
        "[2606:4700::1]:8443",
    ];
    let policy = EgressPolicy::new(Vec::new(), Vec::new(), addrs(&listeners));
    let local = private(&["127.0.0.0/8", "::1/128", "10.0.0.0/8"]);
    #[rustfmt::skip]
    let rows = [
        ("listener", "127.0.0.1:8317", Err(EgressReason::Own)),
        ("its port elsewhere", "127.0.0.2:8317", Ok(())),
        ("its address, other port", "127.0.0.1:8316", Ok(())),
        ("wildcard on loopback", "127.0.0.1:9000", Err(EgressReason::Own)),
        ("wildcard on all of loopback", "127.9.9.9:9000", Err(EgressReason::Own)),
        ("v4 wildcard on v6 loopback", "[::1]:9000", Err(EgressReason::Own)),
        ("v6 wildcard on v4 loopback", "127.0.0.1:9001", Err(EgressReason::Own)),
        ("wildcard's port of another machine", "10.0.0.9:9000", Ok(())),
        ("public listener", "93.184.216.34:8443", Err(EgressReason::Own)),
        ("public listener v6", "[2606:4700::1]:8443", Err(EgressReason::Own)),
        ("its neighbour", "93.184.216.35:8443", Ok(())),
    ];
    for (name, addr, want) in rows {
        let addr: SocketAddr = addr.parse().unwrap();
        let literal = policy.admit(&operator(&format!("http://{addr}/")), &local);
        assert_eq!(
            literal.map_err(|refusal| refusal.reason()),
            want,
            "{name}, literal"
        );
        let url = operator(&format!("http://api.example.com:{}/", addr.port()));
        let named = policy.vet(&url, &local, &[addr]).map(|_| ());
        assert_eq!(
            named.map_err(|refusal| refusal.reason()),
            want,
            "{name}, by name"
        );
    }
    let beside_public = addrs(&["93.184.216.35:8317", "127.0.0.1:8317"]);
    let refusal = policy
        .vet(
            &operator("http://api.example.com:8317/"),
            &local,
            &beside_public,
        )
        .unwrap_err();
    assert_eq!(
        refusal.reason(),
        EgressReason::Own,
        "told as what it is also in a mixed answer"
    );
}

// EDGE-104
#[test]
fn labels_are_the_documented_ones() {
    let labels = EgressReason::ALL.map(EgressReason::label);
    assert_eq!(
        labels.join(", "),
        "scheme, userinfo, port, host_syntax, name, private, special, metadata, embedded_v4, mixed_answer, \
         too_many, self, redirect, dns, not_listed"
    );
}

// EDGE-97 EDGE-99
#[test]
fn operators_are_told_what_to_write_and_tenants_no_address() {
    let policy = EgressPolicy::default();
    let refusal = policy
        .admit(&operator("http://10.1.2.3/"), &Exceptions::default())
        .unwrap_err();
    assert!(
        refusal
            .to_string()
            .contains(r#"allow_private: ["10.1.2.3/32"]"#),
        "{refusal}"
    );
    let refusal = policy
        .admit(
            &operator("http://[fd00:ec2::254]/"),
            &private(&["fd00::/8"]),
        )
        .unwrap_err();
    assert!(
        refusal
            .to_string()
            .contains("dangerously_allow_metadata: true"),
        "{refusal}"
    );
    for reason in EgressReason::ALL {
        assert!(
            !reason.rule().contains(['.', ':']),
            "{reason:?} names an address"
        );
    }
}

proptest! {
    /// Whatever the text, what comes out is clean, and reading its own text gives the same again.
    #[test]
    fn a_parsed_url_is_clean_and_stable(
        text in r"(https|wss|http)://[a-zA-Z0-9.\-_\[\]:%@\\#/?\u{e4}\u{3002}\u{ff11}\u{ad}\t ]{0,40}",
    ) {
        #[rustfmt::skip]
        let rows = [
            (Purpose::Upstream, Giver::Operator),
            (Purpose::Webhook, Giver::Tenant),
            (Purpose::Relay, Giver::Tenant),
        ];
        for (purpose, giver) in rows {
            let Ok(url) = parse_url(&text, purpose, giver) else { continue };
            if let Host::Name(name) = url.host() {
                prop_assert!(name.len() <= 253 && !name.ends_with('.'));
                prop_assert!(name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_')));
            }
            prop_assert!(!url.path().ends_with('/'));
            prop_assert!(url.to_string().bytes().all(|b| b.is_ascii_graphic()));
            prop_assert_eq!(parse_url(&url.to_string(), purpose, giver), Ok(url));
        }
    }

    #[test]
    fn any_text_is_judged_without_panic(text in r"\PC{0,60}") {
        let _judged = parse_url(&text, Purpose::Webhook, Giver::Tenant);
    }
}

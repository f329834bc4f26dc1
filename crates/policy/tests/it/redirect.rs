//! What of a `Location` reaches a caller.

use tollkeep_policy::egress::{Giver, Purpose, parse_url, relayed_location};

// EDGE-100
#[test]
fn a_location_stays_only_where_it_leads_to_the_upstream() {
    #[rustfmt::skip]
    let rows = [
        ("absolute path", "https://api.example.com", "/next?a=b#c", Some("/next?a=b#c")),
        ("relative path", "https://api.example.com", "next", Some("next")),
        ("query only", "https://api.example.com", "?page=2", Some("?page=2")),
        ("parent", "https://api.example.com", "../x", Some("../x")),
        ("own", "https://api.example.com", "https://api.example.com/x?y", Some("/x?y")),
        ("own in capitals", "https://api.example.com", "HTTPS://API.example.COM/x", Some("/x")),
        ("own without path", "https://api.example.com", "https://api.example.com", Some("/")),
        ("own with query only", "https://api.example.com", "https://api.example.com?y", Some("/?y")),
        ("own with its port", "https://api.example.com", "https://api.example.com:443/x", Some("/x")),
        ("own without scheme", "https://api.example.com", "//api.example.com/x", Some("/x")),
        ("own on a port", "http://api.example.com:8000", "http://api.example.com:8000/x", Some("/x")),
        ("base path comes off", "https://api.example.com/api/", "https://api.example.com/api/x", Some("/x")),
        ("base path of a path", "https://api.example.com/api", "/api/x", Some("/x")),
        ("only the base path", "https://api.example.com/api", "/api", Some("/")),
        ("beside the base path", "https://api.example.com/api", "/apix", Some("/apix")),
        ("other host", "https://api.example.com", "https://evil.example/x", None),
        ("other host without scheme", "https://api.example.com", "//evil.example/x", None),
        ("other port", "https://api.example.com", "https://api.example.com:8443/x", None),
        ("port of the other scheme", "https://api.example.com", "https://api.example.com:80/x", None),
        ("other scheme", "https://api.example.com", "http://api.example.com/x", None),
        ("longer host", "https://api.example.com", "https://api.example.com.evil.example/x", None),
        ("user before host", "https://api.example.com", "https://api.example.com@evil.example/x", None),
        ("script", "https://api.example.com", "javascript:alert(1)", None),
        ("scheme without slashes", "https://api.example.com", "https:evil.example", None),
        ("left-over authority", "https://api.example.com", "https://api.example.com//evil.example", None),
        ("authority behind the base", "https://api.example.com/api", "/api//evil.example", None),
        ("three slashes", "https://api.example.com", "///evil.example", None),
        ("backslash", "https://api.example.com", "/\\evil.example", None),
        ("tab", "https://api.example.com", "/\t/evil.example", None),
        ("blank", "https://api.example.com", " //evil.example", None),
        ("empty", "https://api.example.com", "", None),
    ];
    for (name, upstream, location, want) in rows {
        let upstream = parse_url(upstream, Purpose::Upstream, Giver::Operator).unwrap();
        let told = relayed_location(location.as_bytes(), &upstream);
        assert_eq!(told.as_deref(), want.map(str::as_bytes), "{name}");
    }
}

proptest::proptest! {
    /// However a location is spelled, a browser never leaves us by it.
    #[test]
    fn no_told_location_has_an_authority_or_scheme(
        location in r"(https:|http:|/|\\|api\.example\.com|evil|:|\?|#|@|\t){0,8}",
    ) {
        let upstream = parse_url("https://api.example.com/api", Purpose::Upstream, Giver::Operator).unwrap();
        if let Some(told) = relayed_location(location.as_bytes(), &upstream) {
            let ours = url::Url::parse("https://gateway.example/a/b").unwrap();
            let target = ours.join(std::str::from_utf8(&told).unwrap()).unwrap();
            proptest::prop_assert_eq!(target.origin(), ours.origin());
        }
    }
}

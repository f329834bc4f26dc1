//! Routes that cost nothing.

use crate::support::Case;

// PAY-15
#[test]
fn a_free_route_has_a_limit_and_may_have_to_say_which() {
    let file = |limit: &str, strict: bool| {
        format!(
            "free_routes: {{ require_explicit_limit: {strict} }}\n\
             upstreams: {{ a: {{ url: \"https://a.example\" }} }}\n\
             routes:\n  GET /x: {{ upstream: a, price: \"$0\"{limit} }}\n  GET /y: {{ upstream: a }}\n"
        )
    };
    let own = ", rateLimit: { requests: 5, window: 1m }";
    let rate = |yaml: &str| Case::yaml(yaml).settings().routes[0].rate.clone().unwrap();
    let usual = rate(&file("", false));
    assert_eq!(
        (
            usual.requests,
            usual.burst,
            usual.window.as_secs(),
            usual.is_default
        ),
        (10, 20, 1, true)
    );
    for strict in [false, true] {
        let written = rate(&file(own, strict));
        assert_eq!(
            (
                written.requests,
                written.window.as_secs(),
                written.is_default
            ),
            (5, 60, false)
        );
    }
    let problem = Case::yaml(&file("", true)).load().unwrap_err();
    assert!(
        problem.contains("routes.\"GET /x\": is free and has no `rate_limit`"),
        "{problem}"
    );
    assert!(!problem.contains("GET /y"), "{problem}");
    let off = Case::yaml(&file(", rateLimit: off", false))
        .load()
        .unwrap_err();
    assert!(off.contains("free_route_without_limit"), "{off}");
}

// PAY-32
#[test]
fn a_limit_says_how_many_in_which_time_and_payers_sign_for_the_seconds_that_are_said() {
    let file = |window: &str, more: &str| {
        format!(
            "defaults: {{ timeout: 90 }}\nupstreams: {{ a: {{ url: \"https://a.example\" }} }}\n\
             accepts: [{{ asset: USDC, network: base }}]\nfacilitator: https://f.example\n\
             wallets: {{ base: \"0x1111111111111111111111111111111111111111\" }}\n\
             routes:\n  GET /x: {{ upstream: a, price: \"$0.01\"{more}, rateLimit: {{ requests: 5, window: {window} }} }}\n"
        )
    };
    for (window, seconds) in [("30s", 30), ("5m", 300), ("1h", 3_600), ("1d", 86_400)] {
        let route = Case::yaml(&file(window, "")).settings().routes[0].clone();
        let rate = route.rate.unwrap();
        assert_eq!(
            (rate.requests, rate.window.as_secs()),
            (5, seconds),
            "{window}"
        );
        assert_eq!(route.sale.unwrap().timeout_s, 90);
    }
    for window in ["30", "1w", "-1s", "0s"] {
        assert!(Case::yaml(&file(window, "")).load().is_err(), "{window}");
    }
    let about = ", metadata: { description: a, tags: [b] }";
    let route = Case::yaml(&file("1m", about)).settings().routes[0].clone();
    assert_eq!(route.metadata["tags"][0], "b");
    let long = format!(", metadata: {{ description: {} }}", "a".repeat(8 * 1024));
    let problem = Case::yaml(&file("1m", &long)).load().unwrap_err();
    assert!(problem.contains("at most 8 KiB"), "{problem}");
}

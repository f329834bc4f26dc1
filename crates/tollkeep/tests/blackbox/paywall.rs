//! The page that people see where a request is to be paid for.

use crate::callers::get;
use crate::paid_fixture::{CENT, Facilitator, asked, open, proof, shop, shown, signed};
use tollkeep_testkit::Origin;

const BROWSER: &str = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n";

// PAY-56
#[test]
fn a_browser_is_shown_a_page_with_the_same_fields() {
    let (origin, facilitator) = (Origin::plain(), Facilitator::start());
    let gateway = shop(&origin, &facilitator, CENT)
        .set("paywall.title", "Jokes <b>&</b> more")
        .set("paywall.logo", "data:image/png;base64,AAAA")
        .set("server.public_url", "https://shop.example")
        .start();
    let program = open(&gateway, &get("/x?a=1&b=2", ""));
    assert_eq!(program.field("content-type"), Some("application/json"));
    let page = gateway.call(&get("/x?a=1&b=2", BROWSER));
    assert_eq!(page.status, 402);
    assert_eq!(page.field("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(page.field("cache-control"), Some("no-store"));
    assert_eq!(page.field("x-tollkeep-error"), Some("payment_required"));
    assert_eq!(page.field("x-frame-options"), Some("DENY"));
    assert_eq!(asked(&page)["accepts"][0]["amount"], "10000");
    let html = page.text();
    for part in [
        "<title>Jokes &lt;b&gt;&amp;&lt;/b&gt; more</title>",
        "<p class=\"price\">$0.01</p>",
        "for https://shop.example/x?a=1&amp;b=2",
        "<td>base-sepolia</td><td>0.01 USDC</td>",
        "src=\"data:image/png;base64,AAAA\"",
    ] {
        assert!(html.contains(part), "{part}\n{html}");
    }
    // One policy, and nothing but what has its nonce; never the same.
    let [policy] = page.values("content-security-policy")[..] else {
        panic!("{page:?}");
    };
    let nonce = policy
        .split("'nonce-")
        .nth(1)
        .unwrap()
        .split('\'')
        .next()
        .unwrap();
    assert_eq!(nonce.len(), 32);
    assert!(
        policy.starts_with("default-src 'none'; ") && policy.contains("frame-ancestors 'none'")
    );
    assert_eq!(html.matches(&format!("nonce=\"{nonce}\"")).count(), 2);
    assert_eq!(
        html.matches("<script").count() + html.matches("<style").count(),
        2
    );
    assert!(
        !html.contains("http://") && html.matches("https://").count() == 1,
        "{html}"
    );
    let second = gateway.call(&get("/x?a=1&b=2", BROWSER));
    assert!(!second.text().contains(nonce));
    assert_eq!(origin.count(), 0);
}

// PAY-56
#[test]
fn programs_and_other_methods_get_json_also_from_a_browser() {
    let (origin, facilitator) = (Origin::plain(), Facilitator::start());
    let routes = "  \"GET,POST /x\": { upstream: origin, price: \"$0.01\" }\n";
    let gateway = shop(&origin, &facilitator, routes).start();
    open(&gateway, &get("/x", ""));
    let post =
        format!("POST /x HTTP/1.1\r\nHost: gateway.test\r\nContent-Length: 0\r\n{BROWSER}\r\n");
    for (name, request) in [
        ("post", post.into_bytes()),
        (
            "json first",
            get("/x", "Accept: application/json, text/html\r\n"),
        ),
        ("anything", get("/x", "Accept: */*\r\n")),
        ("nothing", get("/x", "")),
        (
            "malformed",
            get("/x", &format!("{BROWSER}X-PAYMENT: ?\r\n")),
        ),
    ] {
        let answer = gateway.call(&request);
        assert_eq!(
            answer.field("content-type"),
            Some("application/json"),
            "{name}: {answer:?}"
        );
        assert_eq!(
            answer.values("content-security-policy"),
            ["default-src 'none'; frame-ancestors 'none'"],
            "{name}"
        );
    }
    // What would not do is said on the page too, and a page that is paid for is what it is.
    let unpaid = gateway.call(&get("/x", BROWSER));
    let mut less = proof(&unpaid);
    less["payload"] = signed(0, 1);
    let refused = gateway.call(&get("/x", &format!("{BROWSER}{}", shown(&less))));
    assert_eq!(refused.status, 402);
    assert!(
        refused.text().contains("will not do for this request"),
        "{}",
        refused.text()
    );
    let paid = gateway.call(&get("/x", &format!("{BROWSER}{}", shown(&proof(&unpaid)))));
    assert_eq!((paid.status, paid.text().as_str()), (200, "ok"));
}

// PAY-56
#[test]
fn a_shop_without_pages_has_none() {
    let (origin, facilitator) = (Origin::plain(), Facilitator::start());
    let gateway = shop(&origin, &facilitator, CENT)
        .set("paywall.html", "off")
        .start();
    open(&gateway, &get("/x", ""));
    let answer = gateway.call(&get("/x", BROWSER));
    assert_eq!(answer.field("content-type"), Some("application/json"));
}

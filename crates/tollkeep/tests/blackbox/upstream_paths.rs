//! Routes whose path at the upstream is another than the caller's.

use crate::callers::get;
use crate::fixture::gateway;
use tollkeep_testkit::Origin;

// PAY-14
#[test]
fn the_upstream_sees_the_path_of_the_route_below_its_own() {
    let origin = Origin::plain();
    let url = origin.url();
    let gateway = gateway(format!(
        "upstreams:\n  api: {{ url: \"{url}/base/\", allow_private: [\"127.0.0.1/32\"] }}\n\
         routes:\n  \
         \"GET /plain\": {{ upstream: api, price: \"$0\" }}\n  \
         \"GET /data/:id\": {{ upstream: api, price: \"$0\", path: \"/v1/query/${{params.id}}/results\" }}\n  \
         \"GET /files/*\": {{ upstream: api, price: \"$0\", path: {{ to: \"/store/${{params.rest}}\" }} }}\n  \
         \"GET /city\": {{ upstream: api, price: \"$0\", path: \"/w/${{query.name}}?units=metric\" }}\n"
    ))
    .start();
    for (target, want) in [
        ("/plain?a=1", "/base/plain?a=1"),
        ("/data/7?x=%20y", "/base/v1/query/7/results?x=%20y"),
        ("/data/%61b", "/base/v1/query/ab/results"),
        ("/files/a/b.txt", "/base/store/a/b.txt"),
        (
            "/city?name=S%C3%A3o+Paulo",
            "/base/w/S%C3%A3o%20Paulo?units=metric",
        ),
    ] {
        let answer = gateway.call(&get(target, ""));
        assert_eq!(answer.status, 200, "{target}: {answer:?}");
        assert_eq!(origin.last().target, want, "{target}");
    }
    let before = origin.count();
    for target in [
        "/city",
        "/city?name=..",
        "/city?name=%2e%2e",
        "/city?name=a/b",
        "/city?name=a&name=b",
        "/city?name=",
        "/city?name=a%0d%0ax",
        "/data/..",
        "/data/a%2fb",
    ] {
        let answer = gateway.call(&get(target, ""));
        assert_eq!(answer.status, 400, "{target}: {answer:?}");
    }
    assert_eq!(origin.count(), before);
}

// PAY-14
#[test]
fn a_path_that_can_not_be_made_costs_nothing() {
    use crate::paid_fixture::{Facilitator, open, proof, shop, shown};
    let (origin, facilitator) = (Origin::plain(), Facilitator::start());
    let route = "  \"GET /c\": { upstream: origin, price: \"$0.01\", path: \"/w/${query.n}\" }\n";
    let gateway = shop(&origin, &facilitator, route).start();
    let unpaid = open(&gateway, &get("/c?n=x", ""));
    let proof = shown(&proof(&unpaid));
    assert_eq!(gateway.call(&get("/c?n=..", &proof)).status, 400);
    assert_eq!(facilitator.asked("/verify"), 0);
    assert_eq!(gateway.call(&get("/c?n=x", &proof)).status, 200);
    assert_eq!(origin.last().target, "/w/x?n=x");
}

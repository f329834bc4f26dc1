//! Routes that come from a document of an upstream.

use crate::support::Case;
use tollkeep_config::settings::{Access, Route};

const DOCUMENT: &str = r#"
openapi: 3.1.0
servers: [{ url: "https://evil.example/" }]
paths:
  /items: { get: {}, post: {} }
  /items/{item-id}: { get: {}, delete: {} }
  /files/{name}.json: { get: {} }
  /odd/$x: { get: {} }
"#;

const SELLS: &str = r#"
wallets: { base: "0x1111111111111111111111111111111111111111" }
accepts: [{ asset: USDC, network: base }]
facilitator: https://facilitator.example.com
"#;

fn case(upstream: &str, more: &str) -> Case {
    Case::yaml(&format!(
        "{SELLS}upstreams:\n  shop: {{url: https://shop.example.com/base{upstream}}}\n{more}"
    ))
}

fn in_folder(upstream: &str, more: &str) -> Case {
    let case = case("", "");
    let at = case.path("api.yaml");
    let upstream = upstream.replace("FILE", &format!("openapi: {}", at.display()));
    let text = format!(
        "{SELLS}upstreams:\n  shop: {{url: https://shop.example.com/base{upstream}}}\n{more}"
    );
    case.file("tollkeep.yaml", text).file("api.yaml", DOCUMENT)
}

fn named<'r>(routes: &'r [Route], name: &str) -> Option<&'r Route> {
    routes.iter().find(|route| route.name() == name)
}

fn names(routes: &[Route]) -> Vec<String> {
    routes.iter().map(Route::name).collect()
}

// PAY-40
#[test]
fn a_document_makes_routes_and_those_that_are_written_win() {
    let all = in_folder(", FILE, defaultPrice: '$0.02'", "");
    let settings = all.settings();
    assert_eq!(
        names(&settings.routes),
        [
            "GET /shop/items",
            "POST /shop/items",
            "GET /shop/items/:item_id",
            "DELETE /shop/items/:item_id",
            "GET /shop/odd/$x",
        ]
    );
    let item = named(&settings.routes, "GET /shop/items/:item_id").unwrap();
    assert_eq!(item.access, Access::Payment);
    let price = format!("{:?}", item.sale.as_ref().unwrap().pricing);
    assert!(price.contains("20000000"), "{price}");
    let to = item.upstream_path.as_ref().unwrap();
    let filled = to.fill(
        &[("item_id", "7")],
        None,
        tollkeep_types::path::PathRules::PERMISSIVE,
    );
    assert_eq!(filled.as_deref(), Some("/items/7"));
    let warned = all.warnings();
    assert!(
        warned.contains("upstreams.shop.openapi: leaves out \"GET /files/{name}.json\""),
        "{warned}"
    );

    // The file is watched like the configuration itself.
    let files = all.loaded().files;
    assert!(files.contains(&all.path("api.yaml")), "{files:?}");

    for (written, left) in [
        ("GET /shop/items", 4),
        ("GET,POST /shop/items", 3),
        ("ANY /shop/items/:x", 3),
        ("GET /shop/*", 2),
        ("GET /shop/:a", 4),
        ("HEAD /shop/items", 5),
        ("GET /other", 5),
    ] {
        let route = format!("routes:\n  \"{written}\": {{upstream: shop, price: '$1'}}\n");
        let settings = in_folder(", FILE, default_price: '$0.02'", &route).settings();
        assert_eq!(settings.routes.len(), left + 1, "{written}");
        let own = named(&settings.routes, written).unwrap();
        assert_eq!(own.access, Access::Payment, "{written}");
    }
    let all_taken = in_folder(
        ", FILE, default_price: '$0.02'",
        "routes: {\"ANY /shop/*\": {upstream: shop}}\n",
    );
    assert_eq!(all_taken.settings().routes.len(), 1);
    assert!(all_taken.warnings().contains("makes no route"));
}

// PAY-40
#[test]
fn without_a_price_they_cost_what_all_cost_or_want_a_token() {
    let plain = in_folder(", FILE", "").settings();
    assert!(
        plain
            .routes
            .iter()
            .all(|route| route.access == Access::Token)
    );
    let usual = in_folder(", FILE", "defaults: {price: '$0.01'}\n").settings();
    assert!(
        usual
            .routes
            .iter()
            .all(|route| route.access == Access::Payment)
    );
}

// PAY-40
#[test]
fn what_is_wrong_with_it_is_told_at_its_key() {
    for (upstream, more, want) in [
        (
            ", openapi: /nowhere/api.yaml",
            "",
            "upstreams.shop.openapi: /nowhere/api.yaml: can't read it",
        ),
        (
            ", openapi: 'https://docs.example.com/api.json'",
            "",
            "upstreams.shop.openapi: was not fetched yet: `tollkeep import --from openapi FILE`",
        ),
        (
            ", openapi: 'http://127.0.0.1:1/api.json'",
            "",
            "upstreams.shop.openapi: ",
        ),
        (
            ", openapi: 'ftp://docs.example.com/api.json'",
            "",
            "upstreams.shop.openapi: want a URL",
        ),
        (
            ", default_price: '$1'",
            "",
            "upstreams.shop.default_price: is for the routes of `openapi`",
        ),
        (
            ", openapi_refresh: start",
            "",
            "upstreams.shop.openapi_refresh: is for a URL",
        ),
        (
            ", FILE, default_price: 7",
            "",
            "upstreams.shop.default_price: `7` is ambiguous",
        ),
    ] {
        let errors = in_folder(upstream, more).errors();
        assert!(errors.contains(want), "{upstream}: {errors}");
    }
    let broken = in_folder(", FILE", "").file("api.yaml", "openapi: 2.0\n");
    assert!(broken.errors().contains("api.yaml: is of OpenAPI \"2.0\""));
}

// PAY-40
#[test]
fn a_copy_is_read_only_for_the_url_it_was_fetched_from() {
    let with_url = |url: &str| {
        let case = Case::bare();
        let data = case.path("data");
        std::fs::create_dir_all(data.join("openapi")).unwrap();
        let text = format!(
            "data_dir: {}\n{SELLS}upstreams:\n  shop: {{url: https://shop.example.com, openapi: \
             '{url}', default_price: '$0.02'}}\n",
            data.display()
        );
        case.file("tollkeep.yaml", text)
    };
    let url = "https://docs.example.com/api.yaml";
    let copy = format!("{url}\n{DOCUMENT}");
    let same = with_url(url).file("data/openapi/shop", &copy);
    assert_eq!(same.settings().routes.len(), 5);
    let other = with_url("https://docs.example.com/other.yaml").file("data/openapi/shop", &copy);
    assert!(other.errors().contains("was not fetched yet"));
    let spoiled = with_url(url).file("data/openapi/shop", copy.replace("paths:", "pa:"));
    assert!(spoiled.errors().contains("has no `paths`"));
}

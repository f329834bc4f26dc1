//! Routes on which a call of a model costs what it uses.

use crate::support::Case;
use tollkeep_config::settings::{Access, ProviderKind, TokenCalls};
use tollkeep_payments::pricing::Origin;
use tollkeep_types::money::NanoUsd;

const PAYEE: &str = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC";

fn shop(route: &str, more: &str) -> String {
    format!(
        "upstreams: {{ a: {{ url: \"https://a.example\" }} }}\n\
         accepts: [{{ asset: USDC, network: base-sepolia }}]\n\
         wallets: {{ base-sepolia: \"{PAYEE}\" }}\n{more}\n\
         routes:\n  POST /x: {{ upstream: a, {route} }}\n"
    )
}

const FACILITATOR: &str = "facilitator: https://fac.example";

// PAY-29
#[test]
fn what_a_call_uses_is_its_price_where_the_route_says_so() {
    let route = "pricing: { model: tokens, markup_percent: 20, overpay: keep_out, calls: messages, \
                 provider: claude }";
    let loaded = Case::yaml(&shop(route, FACILITATOR)).load().unwrap();
    let route = &loaded.settings.routes[0];
    assert_eq!(route.access, Access::Payment);
    let sale = route.sale.as_ref().unwrap();
    let tokens = sale.tokens.unwrap();
    assert_eq!(tokens.calls, TokenCalls::Messages);
    assert_eq!(tokens.provider, ProviderKind::Anthropic);
    assert_eq!(tokens.markup_percent, 20);
    // Nothing but `upto` can take less than was signed.
    let quote = sale.pricing.by_tokens(NanoUsd::new(1)).unwrap();
    assert_eq!(quote.origin, Origin::Tokens);
    let offers = sale.offers(&quote);
    assert_eq!(offers.len(), 1);
    assert_eq!(offers[0].scheme.name(), "upto");
    assert!(sale.pricing.reads_body() && sale.pricing.may_cost());
    let plain = Case::yaml(&shop("pricing: { model: tokens }", FACILITATOR));
    let plain = plain.load().unwrap();
    let tokens = plain.settings.routes[0].sale.as_ref().unwrap().tokens;
    let usual = tokens.unwrap();
    assert_eq!(
        (usual.calls, usual.provider, usual.markup_percent),
        (TokenCalls::Chat, ProviderKind::OpenAi, 0)
    );
}

// PAY-29 PAY-113
#[test]
fn the_most_that_a_call_can_cost_may_be_paid_where_the_rest_is_credit() {
    for more in [FACILITATOR, "payments: { sandbox: true }"] {
        let file = shop("pricing: { model: tokens, overpay: credit }", more);
        let loaded = Case::yaml(&file).load().unwrap();
        let sale = loaded.settings.routes[0].sale.as_ref().unwrap();
        assert!(sale.tokens.unwrap().keeps_rest);
        let quote = sale.pricing.by_tokens(NanoUsd::new(1_500)).unwrap();
        let offers = sale.offers(&quote);
        let told: Vec<_> = offers
            .iter()
            .map(|offer| (offer.scheme.name(), offer.amount))
            .collect();
        assert_eq!(told, [("upto", 2), ("exact", 2)]);
    }
}

// PAY-29
#[test]
fn what_does_not_go_with_it_is_told_where() {
    let eurc = "payments: { x402: { facilitators: { f: { url: \"https://fac.example\" } }, assets: \
                { base-sepolia: { EURC: { address: \"0x036CbD53842c5426634e7929541eC2318f3dCF7e\", \
                name: EURC, version: \"2\", decimals: 6, peg: none } } } } }";
    for (route, more, told) in [
        (
            "price: \"$0.01\", pricing: { model: tokens }",
            FACILITATOR,
            ".price: has no effect with `pricing.model: tokens`",
        ),
        (
            "type: token-based, pricing: { model: tokens }",
            FACILITATOR,
            ".type: has no effect",
        ),
        (
            "price: \"$0.01\", pricing: { markup_percent: 20 }",
            FACILITATOR,
            "pricing.markup_percent: has an effect with `pricing.model: tokens` only",
        ),
        (
            "price: \"$0.01\", pricing: { calls: chat }",
            FACILITATOR,
            "pricing.calls: has an effect with",
        ),
        (
            "pricing: { model: tokens, overpay: keep }",
            FACILITATOR,
            "overpay",
        ),
        (
            "price: \"$0.01\", pricing: { overpay: credit }",
            FACILITATOR,
            "pricing.overpay: has an effect with `pricing.model: tokens` only",
        ),
        (
            "pricing: { model: tokens, provider: opnai }",
            FACILITATOR,
            "did you mean `openai`",
        ),
        (
            "pricing: { model: tokens }",
            "payments: { sandbox: true }",
            "nothing is left to pay it with",
        ),
        (
            "pricing: { model: tokens }, accepts: [{ asset: EURC, network: base-sepolia }]",
            eurc,
            "no token in `accepts` is a dollar",
        ),
        (
            "pricing: { model: tokens }, request: { streaming: true }",
            FACILITATOR,
            "can't be with a price or a hook that depends on the body",
        ),
    ] {
        let refused = Case::yaml(&shop(route, more)).load().unwrap_err();
        assert!(refused.contains(told), "{route}: {refused}");
    }
}

// PAY-27
#[test]
fn an_expression_says_the_whole_price_between_two_bounds() {
    let bounds = "min_price: \"$0.001\", max_price: \"$1\"";
    let route = format!("price: {{ cel: \"int(request.query.n) * 1000000\" }}, {bounds}");
    let loaded = Case::yaml(&shop(&route, FACILITATOR)).load().unwrap();
    let route = &loaded.settings.routes[0];
    assert_eq!(route.access, Access::Payment);
    assert_eq!(route.hooks.price.len(), 1);
    for (route, told) in [
        (
            "price: { cel: \"1000\" }".to_owned(),
            ".price: needs `min_price` and `max_price`",
        ),
        (
            format!("price: {{ cel: \"1 +\" }}, {bounds}"),
            ".price: column 4: the condition ends too early",
        ),
        (
            format!("price: {{ cel: \"1000\" }}, fallback: \"$0.01\", {bounds}"),
            "stands beside `match`, `fallback`",
        ),
        (
            format!("price: {{ cel: \"1000\", usd: \"$1\" }}, {bounds}"),
            "want a price",
        ),
        (
            format!("price: \"$0.01\", fallback: {{ cel: \"1000\" }}, {bounds}"),
            "it can be the `price` of a route alone",
        ),
    ] {
        let refused = Case::yaml(&shop(&route, FACILITATOR)).load().unwrap_err();
        assert!(refused.contains(told), "{route}: {refused}");
    }
}

// PAY-31
#[test]
fn what_is_accepted_is_that_of_the_route_or_that_of_all() {
    let facilitators = "payments: { x402: { facilitators: { f: { url: \"https://fac.example\" } }, \
                        use: { base-sepolia: [f], base: [f] } } }";
    let of = |route: &str| {
        let loaded = Case::yaml(&shop(route, facilitators)).load()?;
        let sale = loaded.settings.routes[0].sale.clone().unwrap();
        let accepts = sale.accepts.iter();
        let told = accepts.map(|accept| {
            format!(
                "{} {} {}",
                accept.asset.symbol, accept.asset.network, accept.pay_to
            )
        });
        Ok::<_, String>(told.collect::<Vec<_>>().join(", "))
    };
    let other = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
    assert_eq!(
        of("price: \"$0.01\"").unwrap(),
        format!("USDC eip155:84532 {PAYEE}")
    );
    // Its own replace those of all; who is paid is the wallet, unless the route says somebody else.
    let own = format!(
        "price: \"$0.01\", payTo: \"{other}\", accepts: [{{ asset: USDC, network: base }}]"
    );
    assert_eq!(of(&own).unwrap(), format!("USDC eip155:8453 {other}"));
    for (accepts, told) in [
        (
            "{ asset: EURC, network: base-sepolia }",
            "no token \"EURC\" is known on",
        ),
        (
            "{ asset: USDC, network: bse }",
            "no network is named \"bse\"",
        ),
        (
            "{ asset: USDC, network: base }",
            "says nobody who is paid on eip155:8453",
        ),
        (
            "{ asset: USDC, network: polygon }",
            "says nobody who is paid on eip155:137",
        ),
        (
            "{ asset: USDC, network: solana }",
            "which is not supported yet",
        ),
        (
            "{ asset: USDC, network: base-sepolia, scheme: upto }",
            "is not supported yet",
        ),
    ] {
        let refused = of(&format!("price: \"$0.01\", accepts: [{accepts}]")).unwrap_err();
        assert!(refused.contains(told), "{accepts}: {refused}");
    }
    // Nobody settles there.
    let unsettled = format!(
        "price: \"$0.01\", payTo: \"{other}\", accepts: [{{ asset: USDC, network: polygon }}]"
    );
    let refused = of(&unsettled).unwrap_err();
    assert!(
        refused.contains("nobody settles on eip155:137"),
        "{refused}"
    );
}

// PAY-10
#[test]
fn a_route_names_facilitators_that_are_there() {
    let facilitators = "payments: { x402: { facilitators: { main: { url: \"https://a.example\" }, \
                        spare: { url: \"https://b.example\" } }, use: [] } }";
    let of = |written: &str| {
        let route = format!("price: \"$0.01\", facilitator: {written}");
        let loaded = Case::yaml(&shop(&route, facilitators)).load()?;
        let sale = loaded.settings.routes[0].sale.clone().unwrap();
        Ok::<_, String>(sale.facilitators.join(" "))
    };
    assert_eq!(of("spare").unwrap(), "spare");
    assert_eq!(of("[spare, main]").unwrap(), "spare main");
    let wrong = of("mian").unwrap_err();
    assert!(
        wrong.contains("no facilitator is named \"mian\""),
        "{wrong}"
    );
    assert!(wrong.contains("did you mean `main`"), "{wrong}");
    assert!(
        of("https://a.example")
            .unwrap_err()
            .contains("no facilitator is named")
    );
}

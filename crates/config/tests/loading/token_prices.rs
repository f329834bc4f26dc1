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
            "routes.POST /x.price: has no effect with `pricing.model: tokens`",
        ),
        (
            "type: token-based, pricing: { model: tokens }",
            FACILITATOR,
            "routes.POST /x.type: has no effect",
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
            "pricing: { model: tokens, overpay: credit }",
            FACILITATOR,
            "is not supported yet",
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

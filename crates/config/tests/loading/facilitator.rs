//! Who settles payments, in the short form.

use crate::support::Case;
use tollkeep_config::settings::FacilitatorAt;
use tollkeep_payments::x402::Network;

const DEFAULT: &str = "https://fac.example/";
const OTHER: &str = "https://other.example/x";

/// The addresses asked on Base, then on Polygon, best first.
fn asked(yaml: &str) -> Result<[Vec<String>; 2], String> {
    let loaded = Case::yaml(yaml).load()?;
    let x402 = &loaded.settings.payments.x402;
    let of = |network: &str| {
        let network = Network::from_caip2(network).unwrap();
        let known = x402.facilitators_of(&network);
        known
            .iter()
            .map(|known| match &known.at {
                FacilitatorAt::Url(url) => url.to_string(),
                FacilitatorAt::Sandbox => "sandbox".to_owned(),
            })
            .collect()
    };
    Ok([of("eip155:8453"), of("eip155:137")])
}

// PAY-100
#[test]
fn one_address_or_one_by_network_says_who_settles() {
    let by_network = format!(
        "facilitator: {{ default: \"{DEFAULT}\", chains: {{ base/USDC: \"{OTHER}\" }} }}\n"
    );
    let only_some = format!("facilitator: {{ chains: {{ base: \"{OTHER}\" }} }}\n");
    for (yaml, base, polygon) in [
        (
            format!("facilitator: \"{DEFAULT}\"\n"),
            vec![DEFAULT],
            vec![DEFAULT],
        ),
        (by_network, vec![OTHER, DEFAULT], vec![DEFAULT]),
        (only_some, vec![OTHER], vec![]),
        ("facilitator: \"\"\n".to_owned(), vec![], vec![]),
        (String::new(), vec![], vec![]),
    ] {
        let [on_base, on_polygon] = asked(&yaml).unwrap();
        assert_eq!(on_base, base, "{yaml}");
        assert_eq!(on_polygon, polygon, "{yaml}");
    }
}

// PAY-10 PAY-100
#[test]
fn who_settles_is_said_as_tollbooth_says_it() {
    let by_strategy = format!("settlement: {{ strategy: facilitator, url: \"{DEFAULT}\" }}\n");
    let beside = format!("settlement: {{ strategy: facilitator }}\nfacilitator: \"{DEFAULT}\"\n");
    for yaml in [by_strategy, beside] {
        let [on_base, _] = asked(&yaml).unwrap();
        assert_eq!(on_base, [DEFAULT], "{yaml}");
    }
    for (yaml, told) in [
        (
            "settlement: { strategy: custom, module: ./s.ts }",
            "settlement.strategy: is code, which is not run here",
        ),
        (
            "settlement: { strategy: nanopayments, network: testnet }",
            "settlement.strategy: is not supported yet",
        ),
        (
            "settlement: { strategy: wire }",
            "settlement.strategy: want `facilitator`",
        ),
        (
            "settlement: { url: \"https://a.example\" }\nfacilitator: \"https://b.example\"",
            "settlement.url: is said by `facilitator` too",
        ),
        (
            "settlement: before-response",
            "settlement: want a section: `strategy` and `url`",
        ),
        (
            "settlement: { url: \"http://a.example\" }",
            "`http` outside of `payments.x402.allow_private`",
        ),
    ] {
        let problem = asked(yaml).unwrap_err();
        assert!(problem.contains(told), "{yaml}: {problem}");
    }
}

// PAY-10
#[test]
fn the_redis_of_tollbooth_is_the_one_that_limits_are_shared_in() {
    for (yaml, want) in [
        ("stores: { redis: \"redis://127.0.0.1:6379\" }", Ok(true)),
        (
            "stores: { redis: { url: \"redis://127.0.0.1:6379\" } }",
            Ok(true),
        ),
        ("stores: {}", Ok(false)),
        (
            "stores: { redis: { url: \"redis://127.0.0.1:6379\", prefix: tb } }",
            Err("stores.redis.prefix: is no key here: `tollkeep import"),
        ),
        (
            "stores: { verificationCache: redis }",
            Err("stores.verificationCache: is no key here"),
        ),
        (
            "stores: { redis: \"redis://a\" }\nredis: { url: \"redis://b\" }",
            Err("stores.redis: is said by `redis.url` too"),
        ),
    ] {
        let loaded = Case::yaml(yaml).load();
        match (loaded, want) {
            (Ok(loaded), Ok(is_there)) => {
                assert_eq!(loaded.settings.redis.is_some(), is_there, "{yaml}");
            }
            (Err(problem), Err(told)) => assert!(problem.contains(told), "{yaml}: {problem}"),
            (Ok(_), Err(told)) => panic!("{yaml} is taken: {told}"),
            (Err(problem), Ok(_)) => panic!("{yaml}: {problem}"),
        }
    }
}

// PAY-100 PAY-101
#[test]
fn what_says_it_badly_is_told_where() {
    for (yaml, told) in [
        (
            "facilitator: http://fac.example",
            "`http` outside of `payments.x402.allow_private`",
        ),
        ("facilitator: ftp://fac.example", "facilitator: "),
        (
            "facilitator: {url: https://fac.example}",
            "want `default` and `chains`, not `url`",
        ),
        (
            "facilitator: {chains: {base/USDC: https://a.example, base/EURC: https://b.example}}",
            "a network has one facilitator, whatever the token",
        ),
        (
            "facilitator: {chains: {bse: https://a.example}}",
            "did you mean `base`?",
        ),
        (
            "facilitator: https://fac.example\npayments: {x402: {facilitators: {a: {url: https://a.example}}}}",
            "stands beside `payments.x402.facilitators`",
        ),
    ] {
        let problem = asked(&format!("{yaml}\n")).unwrap_err();
        assert!(problem.contains(told), "{yaml}: {problem}");
    }
}

/// Who settles on Base Sepolia, or what is wrong.
fn played(yaml: &str) -> Result<(Vec<String>, Vec<String>), String> {
    let loaded = Case::yaml(yaml).load()?;
    let x402 = &loaded.settings.payments.x402;
    let of = |network: &str| {
        let known = x402.facilitators_of(&Network::from_caip2(network).unwrap());
        let names = known.iter().map(|known| known.name.clone());
        names.collect::<Vec<_>>()
    };
    assert_eq!(of("eip155:8453"), Vec::<String>::new());
    assert!(loaded.settings.payments.sandbox);
    Ok((of("eip155:84532"), loaded.warnings))
}

// PAY-89
#[test]
fn the_sandbox_settles_alone_and_is_told_of() {
    for (yaml, key) in [
        ("payments: { sandbox: true }", "payments.sandbox"),
        ("facilitator: mock", "facilitator"),
        ("facilitator: { default: mock }", "facilitator"),
        (
            "facilitator: { chains: { base-sepolia/USDC: mock } }",
            "facilitator",
        ),
        (
            "facilitator: mock\npayments: { sandbox: true }",
            "payments.sandbox",
        ),
    ] {
        let (on_test_network, warnings) = played(&format!("{yaml}\n")).unwrap();
        assert_eq!(on_test_network, ["sandbox"], "{yaml}");
        let [warning] = &warnings[..] else {
            panic!("{yaml}: {warnings:?}");
        };
        assert!(
            warning.contains(&format!("{key}: takes payments that move no money")),
            "{warning}"
        );
    }
}

// PAY-89
#[test]
fn the_sandbox_is_refused_where_money_or_strangers_could_be() {
    let url = "https://fac.example";
    for (yaml, told) in [
        ("environment: production\npayments: { sandbox: true }".to_owned(), "refused in production"),
        ("environment: production\nfacilitator: mock".to_owned(), "facilitator: switches"),
        ("server: { host: 0.0.0.0 }\nfacilitator: mock".to_owned(), "not a loopback address"),
        ("server: { host: 0.0.0.0 }\npayments: { sandbox: true }".to_owned(), "not a loopback address"),
        (format!("facilitator: \"{url}\"\npayments: {{ sandbox: true }}"), "beside facilitators"),
        (format!("facilitator: {{ default: mock, chains: {{ base: \"{url}\" }} }}"), "beside facilitators"),
        (
            format!("payments: {{ sandbox: true, x402: {{ facilitators: {{ a: {{ url: \"{url}\" }} }} }} }}"),
            "beside facilitators",
        ),
        ("payments: { sandbox: true, x402: { use: [a] } }".to_owned(), "payments.sandbox: switches"),
        (
            format!("payments: {{ sandbox: true, x402: {{ rpc: {{ base-sepolia: \"{url}\" }} }} }}"),
            "there is no chain",
        ),
        ("facilitator: mock\npayments: { sandbox: false }".to_owned(), "beside `payments.sandbox: false`"),
        (
            "facilitator: mock\nwallets: { base: \"0x1111111111111111111111111111111111111111\" }\n\
             accepts: [{ asset: USDC, network: base }]\nupstreams: { a: { url: \"https://a.example\" } }\n\
             routes: { \"GET /x\": { upstream: a, price: \"$0.01\" } }"
                .to_owned(),
            "nobody settles on eip155:8453",
        ),
    ] {
        let problem = played(&format!("{yaml}\n")).unwrap_err();
        assert!(problem.contains(told), "{yaml}: {problem}");
    }
}

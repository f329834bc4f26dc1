//! Budgets, quotas and amounts, in every spelling and most misspellings.

use crate::support::Case;
use tollkeep_config::settings::{
    BudgetScope, BudgetSetting, CredentialTenant, Environment, ProviderRate, TokenName, UsageMode,
};
use tollkeep_ledger::amount::{Amount, Measure};
use tollkeep_ledger::budget::{Durability, OnShort};
use tollkeep_ledger::row::Enforcement;
use tollkeep_ledger::window::{Period, Window, Zone};
use tollkeep_types::usage::Unit;

/// A budget with this beside its name, whose limit and window are good.
fn budget(line: &str) -> Case {
    listed(&format!("name: b, limit: \"$1\", window: day, {line}"))
}

fn listed(line: &str) -> Case {
    Case::yaml(&format!("budgets:\n  list:\n    - {{ {line} }}\n"))
}

fn only(case: &Case) -> BudgetSetting {
    let [budget] = &case.settings().budgets.list[..] else {
        panic!("one budget");
    };
    budget.clone()
}

fn calendar(period: Period, zone: &str) -> Window {
    Window::Calendar {
        period,
        zone: Zone::named(zone).unwrap(),
    }
}

// LED-4 LED-60 LED-61
#[test]
fn the_budget_of_the_guide_is_read_as_it_is_meant() {
    let case = listed(
        "name: team, scope: {project: default}, unit: usd, limit: \"$100\", \
         window: {calendar: day}, timezone: Europe/Berlin, enforcement: hard, \
         on_short: refuse, warn: [50, 80, 100]",
    );
    let want = BudgetSetting {
        name: "team".to_owned(),
        tenant: CredentialTenant::Default,
        scope: BudgetScope::Project("default".to_owned()),
        measure: Measure::Cost,
        limit: Amount::new(100_000_000_000).unwrap(),
        window: calendar(Period::Day, "Europe/Berlin"),
        enforcement: Enforcement::Hard,
        on_short: OnShort::Refuse,
        durability: Durability::Lease,
        warn: vec![50, 80, 100],
    };
    assert_eq!(only(&case), want);
}

// LED-60 LED-61
#[test]
fn windows_are_calendars_rolling_times_or_for_ever() {
    for (text, want) in [
        ("{calendar: week}", calendar(Period::Week, "UTC")),
        ("month", calendar(Period::Month, "UTC")),
        ("{calendar: year}", calendar(Period::Year, "UTC")),
        ("{rolling: \"24h\"}", Window::rolling(86_400_000).unwrap()),
        ("90m", Window::rolling(5_400_000).unwrap()),
        ("lifetime", Window::Lifetime),
        ("{lifetime: true}", Window::Lifetime),
    ] {
        let case = listed(&format!("name: b, limit: \"$1\", window: {text}"));
        assert_eq!(only(&case).window, want, "{text}");
    }
}

// LED-60
#[test]
fn scopes_name_whatever_calls_belong_to() {
    let token = "tid_0192f3c4a5b67fffbfffffffffffffff";
    let credential = "crd_0192f3c4a5b67fffbfffffffffffffff";
    let name = |text: &str| text.to_owned();
    for (text, want) in [
        ("tenant".to_owned(), BudgetScope::Tenant),
        ("{route: chat}".to_owned(), BudgetScope::Route(name("chat"))),
        (
            "{provider: openai}".to_owned(),
            BudgetScope::Provider(name("openai")),
        ),
        (
            "{model: \"gpt-*\"}".to_owned(),
            BudgetScope::Model(name("gpt-*")),
        ),
        (
            format!("{{token: {token}}}"),
            BudgetScope::Token(TokenName::Token(token.parse().unwrap())),
        ),
        (
            format!("{{credential: {credential}}}"),
            BudgetScope::Credential(credential.parse().unwrap()),
        ),
        (
            format!("{{tokens: [{token}, lin_0192f3c4a5b67fffbfffffffffffffff]}}"),
            BudgetScope::Tokens(vec![
                token.parse().unwrap(),
                "lin_0192f3c4a5b67fffbfffffffffffffff".parse().unwrap(),
            ]),
        ),
    ] {
        let case = budget(&format!("scope: {text}"));
        assert_eq!(only(&case).scope, want, "{text}");
    }
    let BudgetScope::Metadata(pair) = only(&budget("scope: {metadata: {team: a}}")).scope else {
        panic!("a pair");
    };
    assert_eq!((pair.key.as_str(), pair.value.as_str()), ("team", "a"));
}

// LED-1 LED-4 LED-60
#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_no_budget_can_be_is_told_with_its_place() {
    let limit = |limit: &str| listed(&format!("name: b, window: day, limit: {limit}"));
    let window = |window: &str| listed(&format!("name: b, limit: \"$1\", window: {window}"));
    let list = "budgets.list[0]";
    for (name, case, key, told) in [
        ("float", limit("12.5"), "limit", "no float"),
        ("bare", limit("12"), "limit", "is money"),
        ("no sign", limit("\"12\""), "limit", "needs the `$`"),
        (
            "ten decimals",
            limit("\"$0.0000000001\""),
            "limit",
            "9 more",
        ),
        (
            "nano float",
            limit("{nano_usd: 1.5}"),
            "limit",
            "nano-dollars",
        ),
        ("other unit", limit("{usd: 1}"), "limit", "`nano_usd` alone"),
        (
            "money of tokens",
            budget("unit: tokens"),
            "limit",
            "is no money",
        ),
        (
            "no limit",
            listed("name: b, window: day"),
            "limit",
            "missing",
        ),
        (
            "no name",
            listed("limit: \"$1\", window: day"),
            "name",
            "missing",
        ),
        ("fortnight", window("fortnight"), "window", "want `day`"),
        (
            "seconds",
            window("{rolling: \"90s\"}"),
            "window",
            "whole minutes",
        ),
        (
            "two windows",
            window("{calendar: day, rolling: 1h}"),
            "window",
            "want `{calendar",
        ),
        (
            "no period",
            window("{calendar: decade}"),
            "window",
            "want `day`",
        ),
        (
            "no place",
            budget("timezone: Mars/Olympus"),
            "timezone",
            "IANA",
        ),
        (
            "no days",
            listed("name: b, limit: \"$1\", window: 24h, timezone: UTC"),
            "timezone",
            "only windows of a calendar",
        ),
        (
            "neither kept nor told of",
            budget("enforcement: never"),
            "enforcement",
            "hard",
        ),
        ("wider", budget("on_short: widen"), "on_short", "shrink"),
        (
            "count of money",
            budget("count: output"),
            "count",
            "only for budgets of tokens",
        ),
        ("warning", budget("warn: [101]"), "warn", "1 to 100"),
        ("order", budget("warn: [80, 50]"), "warn", "ascending"),
        (
            "two scopes",
            budget("scope: {route: a, model: b}"),
            "scope",
            "exactly one",
        ),
        (
            "no scope",
            budget("scope: {team: a}"),
            "scope",
            "is no scope",
        ),
        (
            "project",
            budget("scope: {project: \"A B\"}"),
            "scope",
            "slug of a project",
        ),
        ("token", budget("scope: {token: tok-x}"), "scope", "tid_"),
        ("everybody", budget("tenant: \"*\""), "tenant", "ten_"),
        ("later", budget("carry_over: unused"), "carry_over", "not"),
    ] {
        let errors = case.errors();
        let place = format!("{list}.{key}");
        assert!(errors.contains(&place), "{name}: {errors}");
        assert!(errors.contains(told), "{name}: {errors}");
    }
    let twice = "budgets:\n  list:\n    - { name: b, limit: \"$1\", window: day }\n    \
                 - { name: b, limit: \"$2\", window: day }\n";
    let errors = Case::yaml(twice).errors();
    assert!(errors.contains("budgets.list[1].name"), "{errors}");
}

// LED-62
#[test]
fn the_quota_of_a_provider_is_a_budget() {
    let provider = |quota: &str| {
        Case::yaml(&format!(
            "providers:\n  openai:\n    credentials: [{{ secret: sk-0123456789abcdef }}]\n    quota: {quota}\n"
        ))
    };
    let quota = |text: &str| provider(text).settings().providers[0].quota.clone();
    let monthly = quota("{limit: 1000000, reset: \"monthly\"}").unwrap();
    assert_eq!(monthly.scope, BudgetScope::Provider("openai".to_owned()));
    assert_eq!(monthly.measure, Measure::Tokens);
    assert_eq!(Some(monthly.limit), Amount::new(1_000_000));
    assert_eq!(monthly.window, calendar(Period::Month, "UTC"));
    assert_eq!(monthly.enforcement, Enforcement::Hard);
    for (text, want) in [
        ("{limit: 5, reset: daily}", calendar(Period::Day, "UTC")),
        ("{limit: 5, reset: weekly}", calendar(Period::Week, "UTC")),
        ("{limit: 5, reset: never}", Window::Lifetime),
        (
            "{limit: 5, timezone: Europe/Berlin}",
            calendar(Period::Month, "Europe/Berlin"),
        ),
    ] {
        assert_eq!(quota(text).unwrap().window, want, "{text}");
    }
    let paid = quota("{limit: \"$5.00\", unit: usd}").unwrap();
    assert_eq!(
        (paid.measure, paid.limit.units()),
        (Measure::Cost, 5_000_000_000)
    );
    assert_eq!(quota("off"), None);
    for (text, key, told) in [
        ("{reset: daily}", "limit", "missing"),
        ("{limit: \"$5\"}", "limit", "is no money"),
        ("{limit: 5, reset: hourly}", "reset", "want `monthly`"),
        (
            "{limit: 5, reset: never, timezone: UTC}",
            "timezone",
            "calendar",
        ),
    ] {
        let errors = provider(text).errors();
        assert!(errors.contains(&format!("quota.{key}")), "{text}: {errors}");
        assert!(errors.contains(told), "{text}: {errors}");
    }
}

// LED-60 LED-72
#[test]
fn what_all_budgets_have_in_common_stands_beside_them() {
    let settings = Case::yaml("{}\n").settings();
    let budgets = &settings.budgets;
    assert_eq!(
        (budgets.default_output_cap, budgets.pin_service),
        (32_768, true)
    );
    assert!(!budgets.required && budgets.list.is_empty());
    assert!(budgets.charge_failed_attempts);
    assert_eq!(settings.ledger.usage, UsageMode::All);
    assert_eq!(settings.environment, Environment::Development);
    let settings = Case::yaml(
        "ledger: {durability: strict, flush_ms: 0, hold_grace: 45s, usage: counted}\n\
         budgets: {required: true, default_output_cap: 100, pin_service: false, \
         charge_failed_attempts: false, min_output_cap: 64, quarantine: false, \
         list: [{name: a, limit: 0, unit: requests, window: day}, \
         {name: b, limit: 0, unit: requests, window: day, durability: lease, enforcement: observe}, \
         {name: c, limit: 0, unit: requests, window: day, enforcement: soft, on_short: shrink}]}\n",
    )
    .settings();
    let budgets = &settings.budgets;
    assert!(budgets.required && settings.ledger.flush_ms.is_zero());
    assert_eq!(
        (budgets.default_output_cap, budgets.pin_service),
        (100, false)
    );
    assert_eq!((budgets.min_output_cap, budgets.quarantine), (64, false));
    assert_eq!(settings.ledger.hold_grace.as_secs(), 45);
    assert_eq!(settings.ledger.usage, UsageMode::Counted);
    assert!(!budgets.charge_failed_attempts);
    let kept: Vec<_> = budgets
        .list
        .iter()
        .map(|one| (one.durability, one.enforcement, one.on_short))
        .collect();
    let want = [
        (Durability::Strict, Enforcement::Hard, OnShort::Refuse),
        (Durability::Lease, Enforcement::Observe, OnShort::Refuse),
        (Durability::Strict, Enforcement::Soft, OnShort::Shrink),
    ];
    assert_eq!(kept, want);
}

// LED-43a
#[test]
fn what_the_operator_knows_of_calls_is_read_and_bounded() {
    let case = |line: &str| Case::yaml(&format!("budgets: {{ {line} }}\n"));
    let read = case(
        "known_fields: [plugins, generationConfig.x], known_tools: [{ type: code_interpreter, \
         extra_tokens: 50, unit: code_session, max_uses: 2 }, { type: local_shell }]",
    );
    let budgets = &read.settings().budgets;
    assert_eq!(budgets.known_fields, ["plugins", "generationConfig.x"]);
    let told: Vec<_> = budgets
        .known_tools
        .iter()
        .map(|tool| (&*tool.kind, tool.extra_tokens, tool.unit, tool.max_uses))
        .collect();
    let session = Some(Unit::CodeSession);
    assert_eq!(
        told,
        [
            ("code_interpreter", 50, session, Some(2)),
            ("local_shell", 0, None, None)
        ]
    );
    for (line, want) in [
        ("known_fields: [\"a b\"]", "without blanks"),
        ("known_fields: [\"\"]", "1 to 100"),
        ("known_tools: [{ extra_tokens: 1 }]", "type"),
        ("known_tools: [{ type: x, unit: web_search }]", "max_uses"),
        (
            "known_tools: [{ type: x, unit: smell, max_uses: 1 }]",
            "web_search",
        ),
        ("known_tools: [{ type: x }, { type: x }]", "twice"),
        ("known_tools: [{ type: x, max_uses: 0 }]", "1"),
    ] {
        let problems = case(line).errors();
        assert!(problems.contains(want), "{line}: {problems}");
    }
}

// LED-62
#[test]
fn a_quota_counts_the_calls_of_whoever_the_credentials_are_for() {
    let id = "ten_018f0000000070008000000000000001";
    let case = |tenants: &[&str]| {
        let credentials: String = tenants
            .iter()
            .enumerate()
            .map(|(number, tenant)| {
                format!("{{ secret: sk-{number}123456789abcdef, tenant: \"{tenant}\" }}, ")
            })
            .collect();
        Case::yaml(&format!(
            "providers:\n  openai:\n    credentials: [{credentials}]\n    quota: {{ limit: 5 }}\n"
        ))
    };
    let of = CredentialTenant::Id(id.parse().unwrap());
    for (tenants, want, warns) in [
        (&["default"][..], CredentialTenant::Default, false),
        (&[id, id], of, false),
        (&["default", id], CredentialTenant::Default, true),
        (&["*"], CredentialTenant::Default, true),
    ] {
        let case = case(tenants);
        let quota = case.settings().providers[0].quota.clone().unwrap();
        assert_eq!(quota.tenant, want, "{tenants:?}");
        let told = case.warnings();
        assert_eq!(told.contains("openai.quota"), warns, "{tenants:?}: {told}");
    }
}

// LED-62
#[test]
fn the_minute_of_a_provider_is_read_as_others_write_it() {
    let case = |line: &str| {
        Case::yaml(&format!(
            "providers: {{ claude: {{ credentials: [{{ secret: sk-x }}], {line} }} }}\n"
        ))
    };
    let both = "{ requests_per_minute: 100, tokens_per_minute: 100000 }";
    for key in ["rate_limit", "rateLimit"] {
        let case = case(&format!("{key}: {both}"));
        let rate = case.settings().providers[0].rate;
        assert_eq!(
            (rate.requests_per_minute, rate.tokens_per_minute),
            (Some(100), Some(100_000)),
            "{key}"
        );
    }
    assert_eq!(
        case("enabled: true").settings().providers[0].rate,
        ProviderRate::default()
    );
    let problems = case("rate_limit: { tokens_per_minute: 0 }").errors();
    assert!(problems.contains("tokens_per_minute"), "{problems}");
}

// LED-35
#[test]
fn keys_of_price_tables_are_32_bytes() {
    let prices = |keys: &str| Case::yaml(&format!("prices: {{ keys: [{keys}] }}\n"));
    let key = "9hdONI9GoV8KPJBsJSmNj4Aw4WMyvaRyYzRqtJ75GnM=";
    assert_eq!(prices(&format!("\"{key}\"")).settings().prices.keys, [key]);
    for wrong in [
        "\"\"",
        "\"9hdONI9GoV8KPJBsJSmNj4Aw4WMyvaRyYzRqtJ75GnM\"",
        "\"9hdONI9GoV8KPJBsJSmNj4Aw4WMyvaRyYzRqtJ75Gn_=\"",
        "\"AAAA\"",
        "7",
    ] {
        let errors = prices(wrong).errors();
        assert!(errors.contains("prices.keys[0]"), "{wrong}: {errors}");
    }
}

// LED-33
#[test]
fn a_stand_in_for_models_without_a_price_is_warned_of() {
    let prices = |rule: &str| Case::yaml(&format!("prices: {{ unknown_model: {rule} }}\n"));
    let told = prices("dearest").warnings();
    assert!(told.contains("prices.unknown_model"), "{told}");
    assert!(!prices("refuse").warnings().contains("unknown_model"));
}

// LED-61
#[test]
fn what_is_left_of_a_window_is_not_carried_over_and_nobody_is_told_so() {
    let errors = budget("carry_over: unused").errors();
    assert!(errors.contains("budgets.list[0].carry_over"), "{errors}");
}

// LED-58 LLM-53
#[test]
fn what_becomes_of_a_call_whose_caller_hangs_up_is_said_for_all_and_by_provider() {
    use tollkeep_ledger::decide::OnDisconnect::{Cancel, Drain};
    let case = |of_all: &str, own: &str| {
        let url = "base_url: \"http://127.0.0.1/v1\", allow_private: [\"127.0.0.1/32\"]";
        let provider = format!("{{ {url}, credentials: [{{ secret: none }}]{own} }}");
        Case::yaml(&format!(
            "llm: {{ {of_all} }}\nproviders: {{ openai: {provider} }}\n"
        ))
    };
    for (of_all, own, want) in [
        ("", "", (Cancel, false)),
        ("on_disconnect: drain", "", (Drain, false)),
        (
            "on_disconnect: drain",
            ", on_disconnect: cancel",
            (Cancel, false),
        ),
        (
            "",
            ", on_disconnect: drain, cancel_stops_billing: true",
            (Drain, true),
        ),
    ] {
        let settings = case(of_all, own).settings();
        let provider = settings.providers.first().unwrap();
        let is = (provider.on_disconnect, provider.cancel_stops_billing);
        assert_eq!(is, want, "{of_all} {own}");
    }
    for wrong in ["on_disconnect: wait", "drain_max_s: 121", "drain_max_s: 0"] {
        let errors = case(wrong, "").errors();
        assert!(errors.contains("llm."), "{wrong}: {errors}");
    }
}

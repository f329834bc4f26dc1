//! No key of upstreams, providers and the egress door is without effect: those that knobs don't
//! turn are turned by other tests, and by those here.

use crate::egress::{answers, ask, config, resolver, upstream};
use crate::fixture::{TOLLKEEP, gateway};
use crate::knobs::{Elsewhere, Table, declared};
use crate::knobs_upstreams::{providers, ranked, upstreams, weighed};
use serde_json::Value;
use std::process::Command;
use std::time::{Duration, Instant};
use tollkeep_testkit::NameServer;

/// Keys that other tests turn, with the file and the name of one.
const ELSEWHERE: &[Elsewhere] = &[
    (
        &[
            "providers.<name>.quota",
            "providers.<name>.quota.limit",
            "providers.<name>.quota.reset",
            "providers.<name>.quota.unit",
            "providers.<name>.quota.timezone",
        ],
        include_str!("spending.rs"),
        "a_provider_whose_quota_is_used_up_is_left_alone",
    ),
    (
        &[
            "providers.<name>.rate_limit.requests_per_minute",
            "providers.<name>.rate_limit.tokens_per_minute",
        ],
        include_str!("token_rates.rs"),
        "the_minute_of_a_provider_is_kept_as_the_configuration_of_others_says_it",
    ),
    (
        &["upstreams.<name>.cancel_stops_billing"],
        include_str!("upto_tokens.rs"),
        "what_the_gateway_cuts_off_is_paid_to_its_cap_unless_that_ends_the_bill",
    ),
    (
        &["providers.<name>.allowed_betas"],
        include_str!("headers.rs"),
        "a_provider_is_asked_for_the_betas_of_its_list_alone",
    ),
    (
        &["llm.stream.keepalive_s"],
        include_str!("stream_alive.rs"),
        "a_silent_stream_is_kept_alive_between_events_and_nowhere_else",
    ),
    (
        &["llm.stream.head_hold_ms"],
        include_str!("head_hold.rs"),
        "a_head_waits_no_longer_and_for_no_more_than_its_bounds",
    ),
    (
        &[
            "models.catalog.model",
            "models.catalog.provider",
            "models.catalog.display_name",
            "models.catalog.context_window",
            "models.catalog.max_output_tokens",
            "models.catalog.created",
        ],
        include_str!("catalogue.rs"),
        "what_is_known_of_models_is_told_and_the_operator_knows_better_than_the_table",
    ),
    (
        &["llm.expose_upstream_limits"],
        include_str!("returned_headers.rs"),
        "the_limits_of_a_providers_account_come_back_only_where_settings_say_so",
    ),
    (
        &["egress.ports"],
        include_str!("credential_places.rs"),
        "a_url_is_judged_by_the_door_before_it_is_stored",
    ),
    (
        &[
            "providers.<name>.on_disconnect",
            "providers.<name>.cancel_stops_billing",
        ],
        include_str!("hung_up.rs"),
        "an_answer_is_read_to_its_end_without_its_caller_where_that_is_wanted_or_its_bill_goes_on",
    ),
    (
        &[
            "upstreams.<name>.openapi",
            "upstreams.<name>.openapi_refresh",
            "upstreams.<name>.default_price",
        ],
        include_str!("openapi_routes.rs"),
        "a_document_is_fetched_at_the_start_and_its_last_good_copy_stays",
    ),
    (
        &["providers.<name>.self_hosted"],
        include_str!("prices.rs"),
        "tables_and_rules_for_unknown_models_are_taken_over_while_it_runs",
    ),
    (
        &[
            "upstreams.<name>.allow_private",
            "upstreams.<name>.dangerously_allow_metadata",
            "providers.<name>.allow_private",
            "egress.allow_ports",
        ],
        include_str!("knobs_egress.rs"),
        "what_lifts_a_rule_of_the_door_lifts_that_one_alone",
    ),
    (
        &[
            "providers.<name>.disable_cooling",
            "providers.<name>.credentials[].disable_cooling",
        ],
        include_str!("credentials.rs"),
        "a_provider_without_cooling_is_asked_on_whatever_it_says",
    ),
    (
        &[
            "providers.<name>.credentials[].models",
            "providers.<name>.credentials[].excluded_models",
            "providers.<name>.credentials[].tenant",
            "providers.<name>.credentials[].project",
            "providers.<name>.credentials[].enabled",
        ],
        include_str!("credentials.rs"),
        "credentials_of_the_file_serve_whom_they_are_for",
    ),
    (
        &["egress.resolver.timeout_ms", "egress.resolver.attempts"],
        include_str!("knobs_egress.rs"),
        "a_resolver_is_waited_for_and_asked_again_as_told",
    ),
    (
        &["egress.resolver.mode", "egress.resolver.servers"],
        include_str!("egress.rs"),
        "a_name_is_resolved_by_the_configured_servers_once_and_kept_for_a_while",
    ),
    (
        &["egress.allow_hosts", "egress.mode"],
        include_str!("egress.rs"),
        "only_listed_hosts_are_called_or_the_others_are_told",
    ),
    (
        &["egress.proxy.url"],
        include_str!("egress_proxy.rs"),
        "public_destinations_are_reached_through_the_proxy_by_their_address",
    ),
    (
        &["egress.proxy.ca_file"],
        include_str!("egress_proxy.rs"),
        "a_proxy_over_tls_proves_who_it_is_and_tunnels_tls",
    ),
    (
        &[
            "upstreams.<name>.timeouts.connect_ms",
            "providers.<name>.timeouts.connect_ms",
        ],
        include_str!("egress_proxy.rs"),
        "a_proxy_that_opens_no_tunnel_is_told_as_such",
    ),
    (
        &["egress.roots", "egress.ca_file"],
        include_str!("upstream_tls_options.rs"),
        "roots_are_those_of_the_system_those_of_mozilla_or_a_file",
    ),
    (
        &[
            "upstreams.<name>.tls.ca_file",
            "upstreams.<name>.tls.server_name",
        ],
        include_str!("upstream_tls_options.rs"),
        "an_upstream_is_believed_by_its_own_roots_alone_and_by_the_name_it_should_have",
    ),
    (
        &["upstreams.<name>.tls.min_version"],
        include_str!("upstream_tls_options.rs"),
        "only_as_new_a_version_of_tls_as_wanted_is_spoken",
    ),
    (
        &["upstreams.<name>.tls.pin_sha256"],
        include_str!("upstream_tls_options.rs"),
        "a_pin_is_wanted_besides_the_chain_and_the_name",
    ),
    (
        &[
            "upstreams.<name>.tls.client_cert_file",
            "upstreams.<name>.tls.client_key_file",
        ],
        include_str!("upstream_tls_options.rs"),
        "an_upstream_that_asks_who_calls_is_shown_our_certificate",
    ),
    (
        &[
            "providers.<name>.tls.ca_file",
            "providers.<name>.tls.client_cert_file",
            "providers.<name>.tls.client_key_file",
            "providers.<name>.tls.server_name",
            "providers.<name>.tls.min_version",
            "providers.<name>.tls.pin_sha256",
        ],
        include_str!("upstream_tls_options.rs"),
        "a_provider_has_the_same_options",
    ),
    (
        &[
            "upstreams.<name>.pool.idle_ms",
            "providers.<name>.pool.idle_ms",
        ],
        include_str!("upstream.rs"),
        "connections_are_kept_used_again_and_closed_when_idle_for_long",
    ),
    (
        &[
            "upstreams.<name>.pool.connections_max",
            "providers.<name>.pool.connections_max",
        ],
        include_str!("upstream.rs"),
        "connections_to_one_upstream_are_bounded",
    ),
    (
        &["upstreams.<name>.pool.scope", "providers.<name>.pool.scope"],
        include_str!("upstream.rs"),
        "projects_may_have_connections_of_their_own",
    ),
    (
        &[
            "upstreams.<name>.breaker.failures",
            "upstreams.<name>.breaker.status",
            "providers.<name>.breaker.failures",
            "providers.<name>.breaker.status",
        ],
        include_str!("breaker.rs"),
        "an_open_breaker_may_say_503_and_be_off",
    ),
    (
        &[
            "upstreams.<name>.breaker.open_ms",
            "providers.<name>.breaker.open_ms",
        ],
        include_str!("breaker.rs"),
        "of_fifty_at_once_two_are_let_through_to_try",
    ),
    (
        &[
            "upstreams.<name>.breaker.trials",
            "providers.<name>.breaker.trials",
        ],
        include_str!("breaker.rs"),
        "a_trial_whose_caller_goes_away_gives_its_place_back",
    ),
    (
        &["upstreams.<name>.retry.connect"],
        include_str!("retries.rs"),
        "connecting_is_tried_so_often_and_no_more_than_the_budget_bears",
    ),
    (
        &[
            "upstreams.<name>.retry.reused",
            "upstreams.<name>.retry.with_idempotency_key",
        ],
        include_str!("retries.rs"),
        "what_a_dead_connection_swallowed_is_sent_again_if_it_may_be",
    ),
    (
        &["upstreams.<name>.signing.mode"],
        include_str!("signing.rs"),
        "mode_off_signs_nothing",
    ),
    (
        &["upstreams.<name>.signing.keys"],
        include_str!("signing.rs"),
        "another_key_or_another_name_of_it_does_not_fit",
    ),
    (
        &["upstreams.<name>.signing.active"],
        include_str!("signing.rs"),
        "the_active_key_signs_and_the_other_waits",
    ),
    (
        &["upstreams.<name>.signing.path_form"],
        include_str!("signing.rs"),
        "the_decoded_form_signs_the_path_that_decoding_frameworks_see",
    ),
    (
        &["upstreams.<name>.signing.headers"],
        include_str!("signing.rs"),
        "whatever_is_changed_on_the_way_is_noticed",
    ),
    (
        &[
            "upstreams.<name>.signing.body",
            "upstreams.<name>.signing.identity",
        ],
        include_str!("signing.rs"),
        "an_unsigned_body_and_the_callers_identity_are_as_configured",
    ),
];

// EDGE-136
#[test]
fn no_key_of_what_is_called_is_without_a_test_that_turns_it() {
    let output = Command::new(TOLLKEEP)
        .args(["config", "schema"])
        .output()
        .unwrap();
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    let below = &schema["properties"];
    let mut keys = Vec::new();
    for section in ["upstreams", "providers"] {
        let named = &below[section]["additionalProperties"];
        declared(named, &format!("{section}.<name>"), &mut keys);
    }
    declared(&below["egress"], "egress", &mut keys);
    assert!(keys.len() > 60, "{keys:?}");
    let tables = [upstreams(), providers(), ranked(), weighed()];
    let turned = tables.into_iter().flat_map(|Table { below, rows, .. }| {
        let below = below
            .replace("upstreams.origin.", "upstreams.<name>.")
            .replace("providers.openai.", "providers.<name>.");
        rows.into_iter()
            .map(move |(name, ..)| format!("{below}{name}"))
    });
    let turned: Vec<String> = turned.collect();
    for (_, file, test) in ELSEWHERE {
        assert!(file.contains(&format!("fn {test}()")), "{test} is no test");
    }
    let elsewhere = |key: &str| ELSEWHERE.iter().any(|(keys, ..)| keys.contains(&key));
    let idle: Vec<&String> = keys
        .iter()
        .filter(|key| !turned.contains(key) && !elsewhere(key))
        .collect();
    assert!(idle.is_empty(), "turned by no test: {idle:?}");
}

/// Whether the settings pass, and what is said to them.
fn checked(text: &str) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tollkeep.yaml");
    std::fs::write(&file, text).unwrap();
    let mut command = Command::new(TOLLKEEP);
    let output = command
        .args(["config", "check", "--config"])
        .arg(&file)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.success(), told)
}

// EDGE-97
#[test]
fn what_lifts_a_rule_of_the_door_lifts_that_one_alone() {
    let provider = |url: &str, more: &str| {
        format!(
            "providers: {{ openai: {{ base_url: \"{url}\"{more}, credentials: [{{ secret: none }}] }} }}\n"
        )
    };
    let plain = |url: &str, more: &str| config(&[upstream("u", url, more)]);
    let net = ", allow_private: [\"169.254.0.0/16\", \"10.0.0.0/8\"]";
    let metadata = format!("{net}, dangerously_allow_metadata: true");
    let mail = |ports: &str| {
        format!(
            "egress: {{ allow_ports: {ports} }}\n{}",
            plain("https://mail.example:25", "")
        )
    };
    for (name, text, want) in [
        ("private", plain("http://10.1.2.3", ""), false),
        ("private, and allowed", plain("http://10.1.2.3", net), true),
        ("metadata", plain("http://169.254.169.254", net), false),
        (
            "metadata, and allowed",
            plain("http://169.254.169.254", &metadata),
            true,
        ),
        (
            "metadata, and not its network",
            plain(
                "http://169.254.169.254",
                ", dangerously_allow_metadata: true",
            ),
            false,
        ),
        ("special", plain("http://198.51.100.1", &metadata), false),
        (
            "a provider in private",
            provider("http://10.1.2.3/v1", ""),
            false,
        ),
        (
            "a provider in private, and allowed",
            provider("http://10.1.2.3/v1", net),
            true,
        ),
        ("a port", mail("[]"), false),
        ("a port, and allowed", mail("[25]"), true),
        ("a port, and another allowed", mail("[26]"), false),
    ] {
        let (passes, told) = checked(&text);
        assert_eq!(passes, want, "{name}: {told}");
    }
}

/// How long it takes until a name without an answer is given up, and how many questions that are.
fn given_up(timeout: u64, attempts: u32) -> (Duration, usize) {
    let server = NameServer::start(answers);
    let resolver = resolver(&server)
        .replace("timeout_ms: 300", &format!("timeout_ms: {timeout}"))
        .replace("attempts: 1", &format!("attempts: {attempts}"));
    let part = upstream("u", "http://silent.test.example", "");
    let gateway = gateway(resolver + &config(&[part])).start();
    let began = Instant::now();
    assert_eq!(ask(&gateway, "u").code(), "upstream_dns");
    (began.elapsed(), server.asked().len())
}

// EDGE-102
#[test]
fn a_resolver_is_waited_for_and_asked_again_as_told() {
    let (short, asked) = given_up(200, 1);
    let (long, _) = given_up(1_500, 1);
    assert!(
        short < long && long >= Duration::from_millis(1_400),
        "{short:?} {long:?}"
    );
    let (_, asked_more) = given_up(200, 4);
    assert!(asked_more > asked, "{asked} {asked_more}");
}

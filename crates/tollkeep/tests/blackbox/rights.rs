//! Who may do what: every operation by every caller.

use crate::callers::models;
use crate::openapi::{assert_described, document, operations};
use crate::operators::{ask, code, key, made, tenant};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tollkeep_testkit::{Gateway, Origin};

/// An operation: what stands in its path (by what it is of), what is sent, and the roles that may:
/// Owner, Admin, oPerator, Viewer, Tenant-admin.
pub(crate) type Row = (&'static str, &'static str, &'static str, &'static str);

/// Every operation of the API. One that is missing here fails the test.
pub(crate) const ROWS: &[Row] = &[
    ("openapi", "", "", "OAPVT"),
    ("status", "", "", "OAPVT"),
    ("whoami", "", "", "OAPVT"),
    ("project_list", "", "", "OAPVT"),
    ("project_create", "", r#"{"name":"made"}"#, "OAT"),
    ("project_get", "project", "", "OAPVT"),
    ("project_update", "project", r#"{"is_active":true}"#, "OAT"),
    ("project_delete", "throwaway_project", "", "OAT"),
    ("tenant_list", "", "", "OAPVT"),
    ("tenant_create", "", r#"{"name":"made"}"#, "O"),
    ("tenant_get", "tenant", "", "OAPVT"),
    ("tenant_update", "tenant", r#"{"name":"renamed"}"#, "O"),
    ("tenant_suspend", "tenant", "{}", "O"),
    ("tenant_resume", "tenant", "{}", "O"),
    ("tenant_delete", "throwaway", "", "O"),
    ("token_list", "", "", "OAPVT"),
    ("budget_list", "", "", "OAPVT"),
    (
        "budget_create",
        "",
        r#"{"name":"made","limit":"$1","window":"day","scope":{"project":"PROJECT"}}"#,
        "OAT",
    ),
    ("budget_get", "budget", "", "OAPVT"),
    ("budget_update", "budget", r#"{"limit":"$2"}"#, "OAT"),
    ("budget_reset", "budget", "", "OAT"),
    ("budget_windows", "budget", "", "OAPVT"),
    ("budget_delete", "throwaway_budget", "", "OAT"),
    ("token_create", "", r#"{"project":"PROJECT"}"#, "OAPT"),
    ("token_get", "token", "", "OAPVT"),
    ("token_rotate", "token", "{}", "OAPT"),
    ("manage_project_list", "", "", "OAPVT"),
    ("manage_project_create", "", r#"{"name":"managed"}"#, "OAT"),
    ("manage_project_get", "project", "", "OAPVT"),
    (
        "manage_project_update",
        "project",
        r#"{"is_active":true}"#,
        "OAT",
    ),
    ("manage_token_list", "", "", "OAPVT"),
    (
        "manage_token_create",
        "",
        r#"{"project_id":"PROJECT","duration_minutes":5}"#,
        "OAPT",
    ),
    ("manage_token_get", "token", "", "OAPVT"),
    (
        "manage_token_update",
        "token",
        r#"{"max_requests":5}"#,
        "OAPT",
    ),
    ("manage_token_delete", "token", "", "OAPT"),
    ("token_update", "token", r#"{"name":"renamed"}"#, "OAPT"),
    ("token_suspend", "token", "{}", "OAPT"),
    ("token_resume", "token", "{}", "OAPT"),
    ("token_revoke", "token", "{}", "OAPT"),
    ("project_tokens_revoke", "project", "{}", "OAPT"),
    ("lockout_list", "", "", "OAPV"),
    ("lockout_clear", "address", "", "OAP"),
    ("key_list", "", "", "OAPVT"),
    (
        "key_create",
        "",
        r#"{"name":"made","role":"viewer"}"#,
        "OAT",
    ),
    ("key_get", "key", "", "OAPVT"),
    ("key_update", "key", r#"{"name":"renamed"}"#, "OAT"),
    ("key_rotate", "key", "{}", "OAT"),
    ("key_revoke", "key", "{}", "OAT"),
    ("own_key_list", "", "", "OAPVT"),
    ("own_key_create", "", r#"{"name":"made"}"#, "OAPVT"),
    ("own_key_revoke", "key", "{}", "OAPVT"),
    ("config_get", "", "", "OAPV"),
    ("management_config", "", "", "OAPV"),
    ("management_config_file", "", "", "OAPV"),
    ("operator_list", "", "", "OAPVT"),
    (
        "operator_create",
        "",
        r#"{"name":"made","role":"viewer"}"#,
        "OAT",
    ),
    ("operator_get", "operator", "", "OAPVT"),
    (
        "operator_update",
        "operator",
        r#"{"email":"x@y.example"}"#,
        "OAT",
    ),
    (
        "operator_password",
        "operator",
        r#"{"password":"k3-Zu7!mQw2x"}"#,
        "OAT",
    ),
    ("operator_totp", "operator", "{}", ""),
    (
        "operator_totp_confirm",
        "operator",
        r#"{"code":"123456"}"#,
        "",
    ),
    ("operator_totp_off", "operator", "", "OAT"),
    ("operator_disable", "operator", "{}", "OAT"),
    ("operator_enable", "operator", "{}", "OAT"),
    ("operator_sessions", "operator", "", "OAT"),
    ("operator_sessions_end", "operator", "", "OAT"),
    ("operator_delete", "throwaway operator", "", "OAT"),
    ("session_create", "", r#"{"key":"mgt-x"}"#, "OAPVT"),
    ("session_oidc", "", "", "OAPVT"),
    ("session_oidc_callback", "", "", "OAPVT"),
    ("session_get", "", "", "OAPVT"),
    ("session_end", "", "", "OAPVT"),
    ("session_prove", "", "{}", "OAPVT"),
    ("console_session_list", "", "", "O"),
    ("console_session_end", "session", "", "O"),
    ("service_token_list", "", "", "OAPVT"),
    ("service_token_create", "", "{}", "OA"),
    ("service_token_rotate", "service_token", "{}", "OA"),
    ("service_token_revoke", "service_token", "{}", "OA"),
    ("credential_list", "", "", "OAPVT"),
    (
        "credential_create",
        "",
        r#"{"provider":"openai","secret":"sk-made-4kfX0wq8Zt2Ls","project":"PROJECT"}"#,
        "OAT",
    ),
    ("credential_get", "credential", "", "OAPVT"),
    ("credential_update", "credential", r#"{"label":"x"}"#, "OAT"),
    (
        "credential_rotate",
        "credential",
        r#"{"secret":"sk-rotated-9dLqT7vB2m"}"#,
        "OAT",
    ),
    ("credential_test", "credential", "{}", "OAPT"),
    ("credential_enable", "credential", "{}", "OAT"),
    ("credential_disable", "credential", "{}", "OAT"),
    ("credential_cooldown", "credential", "{}", "OAPT"),
    ("credential_recover", "credential", "", "OAPT"),
    ("credential_delete", "credential", "", "OAT"),
    ("auth_list", "", "", "OAPVT"),
    (
        "auth_create",
        "",
        r#"{"provider":"openai","type":"api_key","token":"sk-auth-4kfX0wq8Zt2Ls","project":"PROJECT"}"#,
        "OAT",
    ),
    ("auth_of_provider", "provider", "", "OAPVT"),
    (
        "auth_replace",
        "provider",
        r#"{"auths":[{"token":"sk-auth-7mfX0wq8Zt2Lp","project":"PROJECT"}]}"#,
        "OAT",
    ),
    ("auth_delete", "provider", "", "OAT"),
    ("operations_cooldowns", "", "", "OAPVT"),
    ("operations_providers", "", "", "OAPVT"),
    ("operations_balance", "", "", "OAPVT"),
    ("operations_cooldown", "provider", "{}", "OAPT"),
    ("operations_recover", "provider", "{}", "OAPT"),
    ("config_reload", "", "{}", "OA"),
    ("tls_reload", "", "{}", "OA"),
    ("route_explain", "", "", "OAPVT"),
    ("breaker_list", "", "", "OAPVT"),
    ("breaker_reset", "breaker", "{}", "OAPT"),
    ("cooldown_list", "", "", "OAPV"),
    ("cooldown_clear", "", "", "OAP"),
    (
        "cooldown_set",
        "",
        r#"{"provider":"openai","seconds":60}"#,
        "OAP",
    ),
    ("audit_list", "", "", "OAPVT"),
    ("audit_get", "event", "", "OAPVT"),
    ("audit_stats", "", "", "OAPVT"),
    ("audit_prune", "", r#"{"before":"90d"}"#, "O"),
    ("audit_keys", "", "", "OAPV"),
    ("audit_key_rotate", "", "{}", "O"),
    ("receipt_keys", "", "", "OAPV"),
    ("receipt_key_rotate", "", "{}", "O"),
    ("audit_checkpoints", "", "", "OAPV"),
    ("audit_verify", "", "{}", "OAP"),
    (
        "audit_export",
        "",
        r#"{"start_time":"2026-01-01T00:00:00Z","end_time":"2026-01-02T00:00:00Z"}"#,
        "OAPV",
    ),
    ("audit_reopen", "", "{}", "OAP"),
    ("manage_audit_list", "", "", "OAPVT"),
    ("manage_audit_get", "event", "", "OAPVT"),
    (
        "manage_cache_purge",
        "",
        r#"{"method":"GET","url":"/v1/models"}"#,
        "OAPT",
    ),
    ("ledger_accounts", "", "", "OAPVT"),
    ("ledger_check", "", "", "OAPV"),
    ("ledger_entries", "", "", "OAPV"),
    ("ledger_unresolved", "", "", "OAPVT"),
    ("ledger_resolve", "slice", r#"{"evidence":"seen"}"#, "O"),
    ("price_list", "", "", "OAPVT"),
    ("price_show", "price", "", "OAPVT"),
    ("price_overrides", "", "", "OAPVT"),
    ("price_override_get", "override", "", "OAPVT"),
    (
        "price_override_put",
        "override",
        r#"{"override":{"model":"own","rates":[{"from":"2026-01-01T00:00:00Z","base":{"in_text":1}}]}}"#,
        "OA",
    ),
    ("price_override_delete", "override", "", "OA"),
    (
        "price_import",
        "",
        r#"{"document":"{}","signature":"AAAA"}"#,
        "OA",
    ),
    ("price_restore", "", "", "OA"),
    ("account_list", "", "", "OAPVT"),
    (
        "account_open",
        "",
        r#"{"holder":"PROJECT","name":"made"}"#,
        "O",
    ),
    ("account_get", "account", "", "OAPVT"),
    ("account_entries", "account", "", "OAPVT"),
    (
        "account_credit",
        "account",
        r#"{"amount":"$1","reason":"paid"}"#,
        "O",
    ),
    (
        "account_debit",
        "account",
        r#"{"amount":"$1","reason":"paid out"}"#,
        "O",
    ),
    (
        "account_refund",
        "account",
        r#"{"hold":"hld_00000000000070008000000000000000","amount":"$1","reason":"broken"}"#,
        "O",
    ),
    (
        "account_adjust",
        "account",
        r#"{"amount":"$1","direction":"up","reason":"put right"}"#,
        "O",
    ),
    ("account_close", "account", "", "O"),
    ("price_quarantine", "", "", "OAPV"),
    ("price_ack", "", r#"{"model":"sandbox-1"}"#, "OA"),
    ("payment_list", "", "", "OAPVT"),
    ("payment_get", "payment", "", "OAPVT"),
    (
        "payment_resolve",
        "payment",
        r#"{"as":"voided","evidence":"seen"}"#,
        "O",
    ),
    ("payment_refund", "payment", r#"{"transaction":"0x1"}"#, "O"),
    ("payment_credits", "", "", "OAPVT"),
    ("payment_revenue", "", "", "OAPVT"),
    ("payment_sessions", "", "", "OAPVT"),
    ("payment_session_revoke", "session", "", "O"),
    ("hold_list", "", "", "OAPVT"),
    ("hold_get", "hold", "", "OAPVT"),
    (
        "hold_settle",
        "hold",
        r#"{"cost":"$0.1","reason":"billed"}"#,
        "O",
    ),
    ("hold_release", "hold", r#"{"reason":"billed"}"#, "O"),
    ("usage_sums", "", "", "OAPVT"),
    ("usage_records", "", "", "OAPVT"),
    ("spend_of_token", "token", "", "OAPVT"),
    ("spend_of_project", "project", "", "OAPVT"),
    ("spend_of_tenant", "tenant", "", "OAPVT"),
    ("ip_deny_list", "", "", "OAPV"),
    ("ip_deny", "", r#"{"ip":"192.0.2.9"}"#, "OAP"),
    ("ip_deny_remove", "entry", "", "OAP"),
    ("ip_allow_list", "", "", "OAPV"),
    (
        "ip_allow",
        "",
        r#"{"ip":"127.0.0.0/8","force":true}"#,
        "OAP",
    ),
    ("ip_allow_remove", "entry", "", "OAP"),
    ("vault_status", "", "", "OAPV"),
    ("vault_rekey", "", r#"{"kek":"kek-1"}"#, "O"),
    ("job_list", "", "", "OAPV"),
    ("job_get", "job", "", "OAPV"),
    ("job_cancel", "job", "", "O"),
    ("maintenance_get", "", "", "OAPVT"),
    ("log_level_get", "", "", "OAPV"),
    ("log_level_put", "", r#"{"level":"info"}"#, "OAP"),
    ("maintenance_put", "", r#"{"enabled":false}"#, "OAP"),
];

/// A gateway with something of everything in tenant `a`, and keys of all roles.
pub(crate) struct World {
    pub(crate) gateway: Gateway,
    /// What stands for a place in a path.
    pub(crate) ids: BTreeMap<&'static str, String>,
    /// Letter and text of each key; `t` is a tenant-admin of `a`, `f` one of another tenant.
    pub(crate) keys: Vec<(char, String)>,
}

pub(crate) fn world() -> World {
    let gateway = models(&Origin::plain())
        .set("management.lockout.failures", "1000")
        .start();
    let (a, b) = (tenant(&gateway, "a"), tenant(&gateway, "b"));
    let project = |name: &str, tenant: &str| {
        let body = json!({ "name": name, "tenant": tenant });
        made(&gateway, "/api/v1/projects", &body)
    };
    let (own, foreign) = (project("p", &a), project("p", &b));
    let kept = credential(&gateway, &own);
    let token = made(&gateway, "/api/v1/tokens", &json!({ "project": own }));
    let budget = |name: &str| {
        let body = json!({ "name": name, "tenant": a, "limit": "$1", "window": "day" });
        made(&gateway, "/api/v1/budgets", &body)
    };
    let viewer = json!({ "name": "v", "role": "viewer", "tenant_id": a });
    let ids = BTreeMap::from([
        ("", String::new()),
        ("tenant", a.clone()),
        ("throwaway", tenant(&gateway, "c")),
        ("budget", budget("kept")),
        ("account", "acc_00000000000070008000000000000000".to_owned()),
        ("payment", "pay_00000000000070008000000000000000".to_owned()),
        ("session", "ses_00000000000070008000000000000000".to_owned()),
        ("hold", "hld_00000000000070008000000000000000".to_owned()),
        ("override", "own".to_owned()),
        ("slice", "lse_00000000000070008000000000000000".to_owned()),
        ("throwaway_budget", budget("given away")),
        ("throwaway_project", project("q", &a)),
        ("project", own),
        ("foreign project", foreign),
        ("token", token),
        ("key", key(&gateway, &viewer).0),
        (
            "service_token",
            made(&gateway, "/api/v1/service-tokens", &json!({})),
        ),
        ("operator", person(&gateway, "jane", &a)),
        ("throwaway operator", person(&gateway, "joe", &a)),
        ("session", "csn_00000000000070008000000000000000".to_owned()),
        ("event", "evt_00000000000070008000000000000000".to_owned()),
        ("address", "192.0.2.9".to_owned()),
        ("breaker", "brk_00000000000000ff".to_owned()),
        ("credential", kept),
        ("provider", "openai".to_owned()),
        ("job", "job_00000000000070008000000000000000".to_owned()),
        ("price", "sandbox-1".to_owned()),
        ("entry", "ipe_00000000000070008000000000000000".to_owned()),
    ]);
    let bound = |role: &str, tenant: Option<&str>| {
        let body = json!({ "name": "k", "role": role, "tenant_id": tenant });
        key(&gateway, &body).1
    };
    let keys = vec![
        ('F', bound("tenant-admin", Some(&b))),
        ('V', bound("viewer", None)),
        ('P', bound("operator", None)),
        ('T', bound("tenant-admin", Some(&a))),
        ('A', bound("admin", None)),
        ('O', bound("owner", None)),
    ];
    World { gateway, ids, keys }
}

fn person(gateway: &Gateway, name: &str, tenant: &str) -> String {
    let body = json!({ "name": name, "role": "viewer", "tenant_id": tenant });
    made(gateway, "/api/v1/operators", &body)
}

/// What is asked for before anybody has signed in.
const OPEN: [(&str, u16); 3] = [
    ("session_create", 401),
    ("session_oidc", 404),
    ("session_oidc_callback", 404),
];

/// A credential of this project.
fn credential(gateway: &Gateway, project: &str) -> String {
    let secret = "sk-known-Zq8kTm2vXw7pLs4n";
    let body = json!({ "provider": "openai", "secret": secret, "project": project });
    made(gateway, "/api/v1/credentials", &body)
}

// ID-54
#[test]
fn a_key_of_one_tenant_is_told_nothing_of_the_others() {
    let gateway = models(&Origin::plain()).start();
    let tenant = tenant(&gateway, "a");
    let project = json!({ "name": "p", "tenant": "a" });
    let project = made(&gateway, "/api/v1/projects", &project);
    gateway.mint_token(&json!({ "project": project }));
    for _ in 0..2 {
        gateway.mint_token(&json!({}));
    }
    let on = json!({ "enabled": true });
    assert_eq!(gateway.api("PUT", "/api/v1/maintenance", Some(&on)).0, 200);
    let own = json!({ "name": "k", "role": "tenant-admin", "tenant_id": tenant });
    let all = json!({ "name": "k", "role": "viewer" });
    for (name, members, tokens, by) in [
        ("of the tenant", own, 1, Value::Null),
        ("of the deployment", all, 3, json!("env")),
    ] {
        let (_, key) = key(&gateway, &members);
        let status = ask(&gateway, &key, "GET /api/v1/status", None).json();
        assert_eq!(status["tokens"], json!(tokens), "{name}");
        let maintenance = ask(&gateway, &key, "GET /api/v1/maintenance", None).json();
        assert_eq!(
            (&maintenance["enabled"], &maintenance["by"]),
            (&json!(true), &by),
            "{name}"
        );
    }
}

// ID-53 ID-54 ID-106
#[test]
fn every_operation_is_for_those_who_may_and_nobody_else() {
    let world = world();
    let document = document(&world.gateway);
    let described = operations(&document);
    let mut named: Vec<_> = described
        .iter()
        .map(|operation| operation.id.trim_end_matches("_v0"))
        .collect();
    named.sort_unstable();
    named.dedup();
    let mut rows: Vec<_> = ROWS.iter().map(|(id, ..)| *id).collect();
    rows.sort_unstable();
    assert_eq!(rows, named, "each operation has its row here");
    let access_token = world.gateway.mint_token(&json!({}));
    for operation in &described {
        let id = operation.id.trim_end_matches("_v0");
        let (_, place, body, roles) = ROWS.iter().find(|row| row.0 == id).unwrap();
        let start = |place: &str| {
            let path: Vec<_> = operation
                .path
                .split('/')
                .map(|part| if part.starts_with('{') { place } else { part })
                .collect();
            format!("{} {}", operation.method, path.join("/"))
        };
        let sent = start(&world.ids[place]);
        for (name, key) in [("no key", ""), ("an access token", &access_token)] {
            let answer = ask(&world.gateway, key, &sent, None);
            let is_open = id == "openapi" && key.is_empty();
            let opens = OPEN.iter().find(|(open, _)| *open == id);
            let want = match (is_open, opens) {
                (true, _) => 200,
                (false, Some((_, 404))) => 404,
                (false, Some(_)) => 422,
                (false, None) => 401,
            };
            let is_told = answer.status == want || (id == "openapi" && answer.status == 200);
            assert!(is_told, "{id} with {name}: {}", answer.text());
        }
        for (letter, key) in &world.keys {
            let is_foreign = *letter == 'F';
            let has_right = roles.contains(if is_foreign { 'T' } else { *letter });
            let project = if is_foreign {
                "foreign project"
            } else {
                "project"
            };
            let body = body.replace("PROJECT", &world.ids[project]);
            let body: Option<Value> = serde_json::from_str(&body).ok();
            let answer = ask(&world.gateway, key, &sent, body.as_ref());
            let name = format!("{id} by {letter}: {}", answer.text());
            let is_kept_in = !matches!(*place, "" | "breaker" | "provider" | "price");
            if !has_right {
                assert_eq!(
                    (answer.status, code(&answer)),
                    (403, "forbidden".into()),
                    "{name}"
                );
            } else if is_foreign && is_kept_in {
                let missing = ask(&world.gateway, key, &start(&missing(&sent)), body.as_ref());
                assert_eq!(answer.status, 404, "{name}");
                assert_eq!(told(&answer.json()), told(&missing.json()), "{name}");
            } else if let Some((_, want)) = OPEN.iter().find(|(open, _)| *open == id) {
                // Who is asking makes no difference there.
                assert_eq!(answer.status, *want, "{name}");
            } else {
                assert!(!matches!(answer.status, 401 | 403), "{name}");
            }
            assert_described(&document, operation, &answer);
        }
    }
}

/// An id of the same kind that names nothing.
fn missing(start: &str) -> String {
    let known = ["ten_", "prj_", "tid_", "mky_", "opr_", "csn_", "crd_"];
    let prefix = known.into_iter().find(|prefix| start.contains(prefix));
    format!(
        "{}00000000000070008000000000000000",
        prefix.unwrap_or_default()
    )
}

/// A refusal without what differs from one request to the next.
fn told(problem: &Value) -> Value {
    let mut problem = problem.clone();
    problem.as_object_mut().unwrap().remove("request_id");
    problem
}

//! Whether a budget counts what tokens spend.

use super::{Found, Severity, Status};
use crate::command::client::Client;
use serde_json::Value;
use tollkeep_config::settings::{AccessOnFailure, Require, Settings};
use tollkeep_ledger::lease::TTL_MS;

/// Tokens that are named at most.
const NAMED_MAX: usize = 5;

/// Asks the gateway that runs on this machine.
pub(super) fn budgets(settings: &Settings) -> Found {
    let status = match look(settings) {
        Ok(status) => status,
        Err(_) => Status::Skipped("no gateway runs here that could be asked".to_owned()),
    };
    Found {
        number: 25,
        severity: if settings.budgets.required {
            Severity::Error
        } else {
            Severity::Warn
        },
        title: "every token has a budget",
        why: "without one, whoever has the token spends what the provider allows",
        status,
    }
}

/// What goes on while the database is away, as the settings have it.
pub(super) fn outage(settings: &Settings) -> Found {
    Found {
        number: 103,
        severity: Severity::Info,
        title: "calls go on while the database is away, as far as slices of budgets last",
        why: "which calls an outage stops first is a choice, and the defaults are careful",
        status: outlasts(settings),
    }
}

fn outlasts(settings: &Settings) -> Status {
    if settings.store.postgres.is_none() {
        let why = "the database is a file of this machine";
        return Status::Skipped(why.to_owned());
    }
    let (mut told, mut keys) = (Vec::new(), Vec::new());
    let (audit, auth) = (&settings.audit, &settings.auth);
    let waits_for_database = audit.store_in_db && audit.require == Require::All;
    if audit.enabled && waits_for_database && audit.access_on_failure == AccessOnFailure::Closed {
        let after = audit.deadline.as_millis();
        told.push(format!(
            "all calls are refused after {after} ms, since the audit log has to be there too"
        ));
        keys.push("`audit.require: any`");
    }
    if let Some(after) = auth.revocation_stale_after {
        let after = after.as_millis();
        told.push(format!(
            "calls with tokens are refused after {after} ms, since nobody knows what was revoked"
        ));
        keys.push("`auth.on_stale: open`");
    }
    if told.is_empty() {
        return Status::Pass;
    }
    let slices = TTL_MS / 1000;
    let fix = format!(
        "to ride it out: {}; budgets with slices then go on for {slices} s at most, strict ones and what is paid are refused at once",
        keys.join(" and ")
    );
    Status::Fail(told.join("; "), fix)
}

fn look(settings: &Settings) -> anyhow::Result<Status> {
    let costs =
        |provider: &&tollkeep_config::settings::Provider| provider.enabled && !provider.self_hosted;
    let providers: Vec<_> = settings
        .providers
        .iter()
        .filter(costs)
        .map(|provider| provider.name.as_str())
        .collect();
    if providers.is_empty() {
        return Ok(Status::Pass);
    }
    let client = Client::local(&settings.data_dir)?;
    let budgets = client.all("/api/v1/budgets", "")?;
    let tokens = client.all("/api/v1/tokens", "")?;
    let open: Vec<_> = tokens
        .iter()
        .filter(|token| text(token, "status") == "active")
        .filter(|token| !is_covered(token, &budgets, &providers))
        .map(|token| text(token, "id"))
        .collect();
    let soft: Vec<_> = budgets
        .iter()
        .filter(|budget| text(budget, "enforcement") == "soft")
        .map(|budget| text(budget, "name"))
        .collect();
    if open.is_empty() && soft.is_empty() {
        return Ok(Status::Pass);
    }
    if open.is_empty() {
        let told = format!(
            "calls under way can overspend the soft budgets {}",
            named(&soft)
        );
        return Ok(Status::Fail(
            told,
            "tollkeep budget update ID --enforcement hard".to_owned(),
        ));
    }
    let told = format!("no budget counts the calls of {}", named(&open));
    let fix = "tollkeep budget create daily \"$10\" day --project default";
    Ok(Status::Fail(told, fix.to_owned()))
}

/// The first of them by name, and how many more there are.
fn named(all: &[&str]) -> String {
    let named = all.iter().take(NAMED_MAX).copied().collect::<Vec<_>>();
    match all.len().saturating_sub(NAMED_MAX) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// Whether a budget counts every call of the token, or its calls to each provider that costs.
fn is_covered(token: &Value, budgets: &[Value], providers: &[&str]) -> bool {
    let scopes: Vec<&Value> = budgets
        .iter()
        .filter(|budget| text(budget, "tenant_id") == text(token, "tenant_id"))
        .filter_map(|budget| budget.get("scope"))
        .collect();
    let metadata = token.get("metadata");
    let counts = |scope: &&Value| {
        let is = |kind: &str, member: &str| {
            let named = scope.get(kind).and_then(Value::as_str);
            named.is_some_and(|named| named == text(token, member))
        };
        let listed = scope.get("tokens").and_then(Value::as_array);
        let mut listed = listed.into_iter().flatten();
        let pairs = scope.get("metadata").and_then(Value::as_object);
        let mut pairs = pairs.into_iter().flatten();
        is("tenant", "tenant_id")
            || is("project", "project_id")
            || is("token", "lineage")
            || listed.any(|one| one.as_str() == Some(text(token, "lineage")))
            || pairs.any(|(key, value)| metadata.and_then(|all| all.get(key)) == Some(value))
    };
    let is_counted = |provider: &&str| {
        let mut scopes = scopes.iter();
        scopes.any(|scope| text(scope, "provider") == *provider)
    };
    scopes.iter().any(counts) || providers.iter().all(is_counted)
}

fn text<'v>(value: &'v Value, member: &str) -> &'v str {
    value
        .get(member)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tollkeep_config::LoadRequest;

    fn settings(text: &str) -> Settings {
        let text = format!("sandbox: {{ upstream: true }}\n{text}");
        let loaded = tollkeep_config::load_text(&LoadRequest::default(), &text);
        loaded.unwrap().settings
    }

    // LED-77
    #[test]
    fn what_stops_calls_first_while_the_database_is_away_is_told_as_it_is_set() {
        let url = "postgres://tollkeep_app:x@127.0.0.1/tollkeep";
        let jobs = url.replace("_app", "_jobs");
        let on = |more: &str| {
            let store = format!(
                "store: {{ driver: postgres, url: \"{url}\", jobs_url: \"{jobs}\" }}\n{more}"
            );
            match outlasts(&settings(&store)) {
                Status::Fail(told, fix) => told + " | " + &fix,
                Status::Pass => "nothing".to_owned(),
                Status::Skipped(why) => why,
            }
        };
        let both = on("audit: { deadline: 300ms }\nauth: { revocation_stale_after: 7s }\n");
        for told in [
            "after 300 ms",
            "after 7000 ms",
            "audit.require",
            "auth.on_stale",
            "60 s",
        ] {
            assert!(both.contains(told), "{told}: {both}");
        }
        let tokens = on("audit: { require: any }\n");
        assert!(
            !tokens.contains("audit") && tokens.contains("after 5000 ms"),
            "{tokens}"
        );
        let audit = on("auth: { on_stale: open }\n");
        assert!(
            !audit.contains("tokens") && audit.contains("after 250 ms"),
            "{audit}"
        );
        let neither = "audit: { access_on_failure: open }\nauth: { on_stale: open }\n";
        assert_eq!(on(neither), "nothing");
        assert!(matches!(outlasts(&settings("")), Status::Skipped(_)));
    }

    // LED-60
    #[test]
    fn a_token_is_covered_by_what_counts_all_it_may_spend() {
        let token = json!({"id": "t", "tenant_id": "a", "project_id": "p", "lineage": "l",
            "metadata": {"team": "x"}});
        for (name, tenant, scope, want) in [
            ("its tenant", "a", json!({"tenant": "a"}), true),
            ("another tenant", "b", json!({"tenant": "b"}), false),
            ("its project", "a", json!({"project": "p"}), true),
            ("another project", "a", json!({"project": "q"}), false),
            ("its line", "a", json!({"token": "l"}), true),
            ("a list with it", "a", json!({"tokens": ["k", "l"]}), true),
            ("a list without it", "a", json!({"tokens": ["k"]}), false),
            ("its team", "a", json!({"metadata": {"team": "x"}}), true),
            (
                "another team",
                "a",
                json!({"metadata": {"team": "y"}}),
                false,
            ),
            ("every provider", "a", json!({"provider": "openai"}), true),
            ("another provider", "a", json!({"provider": "other"}), false),
            ("a model", "a", json!({"model": "gpt-*"}), false),
        ] {
            let budgets = [json!({"tenant_id": tenant, "scope": scope})];
            assert_eq!(is_covered(&token, &budgets, &["openai"]), want, "{name}");
        }
        let one = [json!({"tenant_id": "a", "scope": {"provider": "openai"}})];
        assert!(!is_covered(&token, &one, &["openai", "other"]));
        assert!(!is_covered(&token, &[], &["openai"]));
    }
}

//! Whether a budget counts what tokens spend.

use super::{Found, Severity, Status};
use crate::command::client::Client;
use serde_json::Value;
use tollkeep_config::settings::Settings;

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

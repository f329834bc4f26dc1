//! How much happened: events counted by what they have in common. Only the database can tell.

use super::{database_filter_of, is_in_database};
use crate::operation::Call;
use crate::problem::Problem;
use crate::router::{Answer, ok};
use serde_json::{Map, Value, json};
use tollkeep_audit::Action;
use tollkeep_store::AuditBy;

/// By how many things at once.
const BY_MAX: usize = 4;

/// What events can be counted by, under the names that answers have for it.
const WORDS: [(&str, AuditBy); 8] = [
    ("action", AuditBy::Action),
    ("result", AuditBy::Outcome),
    ("class", AuditBy::Class),
    ("actor", AuditBy::Actor),
    ("reason", AuditBy::Reason),
    ("project", AuditBy::Project),
    ("client_ip", AuditBy::ClientIp),
    ("day", AuditBy::Day),
];

pub(super) async fn stats(call: Call) -> Answer {
    let (state, operator) = (&call.state, &call.operator);
    let by = by(call.query.get("by").unwrap_or("action,result"))?;
    let filter = database_filter_of(&call).await?;
    if !is_in_database(state) {
        return Err(Problem::audit_not_kept());
    }
    let columns: Vec<AuditBy> = by.iter().map(|(_, by)| *by).collect();
    let sums = state
        .parts
        .store
        .audit_sums(operator.scope(), &filter, &columns);
    let (sums, more) = sums.await?;
    state
        .record(state.event(operator, Action::AuditList))
        .await?;
    let shown = sums.into_iter().map(|sum| {
        let group = by.iter().zip(sum.group);
        let mut shown: Map<String, Value> = group
            .map(|((name, _), value)| ((*name).to_owned(), json!(value)))
            .collect();
        shown.insert("events".to_owned(), json!(sum.records));
        Value::Object(shown)
    });
    let shown: Vec<Value> = shown.collect();
    Ok(ok(&json!({ "data": shown, "has_more": more })))
}

fn by(wanted: &str) -> Result<Vec<(&'static str, AuditBy)>, Problem> {
    let mut all: Vec<(&'static str, AuditBy)> = Vec::new();
    for word in wanted.split(',').map(str::trim) {
        let word = if word == "outcome" { "result" } else { word };
        let known = WORDS.iter().find(|(name, _)| *name == word);
        let is_new = all.iter().all(|(name, _)| *name != word);
        match known {
            Some(known) if is_new && all.len() < BY_MAX => all.push(*known),
            Some(_) | None => {
                let words: Vec<_> = WORDS.iter().map(|(name, _)| *name).collect();
                return Err(Problem::bad_request(format!(
                    "by: want at most {BY_MAX} of {}, each once.",
                    words.join(", ")
                )));
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    // AUD-72
    #[test]
    fn what_is_counted_by_is_said_in_known_words_each_once() {
        let names = |wanted| {
            let by = by(wanted).ok();
            by.map(|by| by.iter().map(|(name, _)| *name).collect::<Vec<_>>())
        };
        assert_eq!(names("action, outcome"), Some(vec!["action", "result"]));
        for wrong in [
            "",
            "action,action",
            "action,",
            "colour",
            "action,result,class,actor,day",
        ] {
            assert_eq!(names(wrong), None, "{wrong}");
        }
    }
}

//! `/manage/cache/purge`, in the words of llm-proxy and some more.

use crate::operation::Call;
use crate::problem::Problem;
use crate::router::{Answer, ok};
use crate::shape::{Member, number, switch, text};
use serde_json::json;
use tollkeep_audit::Action;
use tollkeep_store::Scope;
use tollkeep_types::{CachePurge, ProjectId};

/// Longest URL that is taken, in characters.
const URL_CHARS_MAX: usize = 2_000;

pub(super) const PURGE: &[Member] = &[
    text("method", 20, "The method of the requests, with `url`"),
    text("url", URL_CHARS_MAX, "Their URL, or path and query"),
    switch("prefix", "Whether `url` is how URLs begin"),
    text(
        "project_id",
        64,
        "Or: the id of the project whose requests they were",
    ),
    text("model", 300, "Or: the model that was asked"),
    switch("all", "Or: all of them"),
];

pub(super) const PURGED: &[Member] = &[
    switch("deleted", "Whether something was there").required(),
    number("count", "How many answers that were").required(),
];

pub(super) async fn purge(call: Call) -> Answer {
    let Call {
        state,
        operator,
        body: mut members,
        ..
    } = call;
    let names_project = members.has("project_id");
    let (method, url) = (members.text("method"), members.text("url"));
    let is_prefix = members.switch("prefix").unwrap_or(false);
    let project = members.text("project_id").and_then(|text| {
        let read = text.parse::<ProjectId>();
        let wrong = |_| members.fault("project_id", "want the id of a project");
        read.map_err(wrong).ok()
    });
    let model = members.text("model");
    let all = members.switch("all").unwrap_or(false);
    let has_url = url.is_some() || method.is_some() || is_prefix;
    let said = [has_url, names_project, model.is_some(), all];
    if said.into_iter().filter(|said| *said).count() != 1 {
        let wanted = "want `method` and `url`, or one of `project_id`, `model` and `all`";
        members.fault("url", wanted);
    }
    if method.is_some() != url.is_some() {
        members.fault("method", "want `method` and `url` together");
    }
    members.done()?;
    let purge = match (method.zip(url), project, model) {
        (Some((method, url)), ..) => CachePurge::Url {
            method,
            target: target_of(&url).to_owned(),
            is_prefix,
        },
        (None, Some(project), _) => CachePurge::Project(project),
        (None, None, Some(model)) => CachePurge::Model(model),
        (None, None, None) => CachePurge::All,
    };
    state.check_audit()?;
    let whose = match operator.scope() {
        Scope::Tenant(tenant) => Some(tenant),
        Scope::Service(_) => None,
    };
    let Some(count) = state.parts.runtime.purge_cache(whose, &purge) else {
        return Err(Problem::bad_request("caching is disabled"));
    };
    state
        .record(state.event(&operator, Action::CachePurge))
        .await?;
    Ok(ok(&json!({ "deleted": count > 0, "count": count })))
}

/// Path and query of a URL that is whole.
fn target_of(url: &str) -> &str {
    let Some((_, rest)) = url.split_once("://") else {
        return url;
    };
    rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_url_is_its_path_and_query() {
        for (url, want) in [
            ("/v1/x?a=b", "/v1/x?a=b"),
            ("https://gateway.example:8080/v1/x?a=b", "/v1/x?a=b"),
            ("http://gateway.example", "/"),
            ("", ""),
        ] {
            assert_eq!(target_of(url), want, "{url}");
        }
    }
}

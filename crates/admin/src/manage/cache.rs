//! `/manage/cache/purge`: known, as llm-proxy has it, and without effect, as answers are not cached.

use crate::operation::Call;
use crate::problem::Problem;
use crate::router::Answer;
use crate::shape::{Member, switch, text};

pub(super) const PURGE: &[Member] = &[
    text("method", 20, "The method of the cached request").required(),
    text("url", 2_000, "Its URL").required(),
    switch("prefix", "Whether `url` is how URLs begin"),
];

pub(super) const PURGED: &[Member] = &[switch("deleted", "Whether something was there")];

pub(super) async fn purge(call: Call) -> Answer {
    let mut members = call.body;
    members.text("method");
    members.text("url");
    members.switch("prefix");
    members.done()?;
    Err(Problem::bad_request("caching is disabled"))
}

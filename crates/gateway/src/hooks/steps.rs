//! One step: an expression that is worked out here, or somebody who is asked.

use super::{Hooked, facts};
use crate::lifecycle::{Exchange, Stop};
use crate::refusal::Refusal;
use std::sync::Arc;
use std::time::Duration;
use tollkeep_config::settings::{Callout, HookStep};
use tollkeep_net::Raced;
use tollkeep_payments::{Json, read_json};
use tollkeep_policy::cel::HookFacts;
use tollkeep_policy::hook::{HookPrice, Moment, StepFailed, Verdict};

/// Beyond the time that whoever is asked may take.
const GRACE: Duration = Duration::from_millis(500);
/// Depth of what somebody answers.
const DEPTH_MAX: usize = 8;

/// What an expression says. Whoever is to be asked says nothing here.
pub(super) fn ask(
    moment: Moment,
    step: &HookStep,
    facts: &HookFacts,
) -> Result<Verdict, StepFailed> {
    match step {
        HookStep::Cel(program) => program.ask(moment, facts),
        HookStep::Http(_) => Ok(Verdict::default()),
    }
}

impl<'p> Exchange<'p> {
    /// What a step says.
    ///
    /// # Errors
    /// 503 where it fails and that is no yes; the caller is gone.
    pub(super) async fn ask_step(
        &mut self,
        (moment, step): (Moment, &HookStep),
        hooked: &Hooked<'p>,
    ) -> Result<Verdict, Stop> {
        let (said, denies) = match step {
            HookStep::Cel(program) => (program.ask(moment, &hooked.facts), true),
            HookStep::Http(callout) => {
                let answered = self.call_out(moment, callout, &hooked.facts).await?;
                (answered, callout.denies)
            }
        };
        match said {
            Ok(verdict) => Ok(verdict),
            Err(failed) => {
                self.note_failed_step(moment, failed);
                if denies {
                    return Err(Refusal::HookFailed.into());
                }
                Ok(Verdict::default())
            }
        }
    }

    /// Tells operators of a step that failed, once a minute for each hook of a route.
    pub(super) fn note_failed_step(&self, moment: Moment, failed: StepFailed) {
        let (hook, route) = (moment.key(), self.work.facts.route());
        let shared = &self.worker.shared;
        let noted = shared
            .hook_failures
            .note(moment, route, shared.clock.mono());
        let Some(silent) = noted else {
            return;
        };
        tracing::warn!(
            request_id = %self.work.facts.id,
            failures_before = silent,
            "A step of `{hook}` on `{route}` failed: {failed}"
        );
    }

    /// Asks somebody, while the request waits.
    async fn call_out(
        &mut self,
        moment: Moment,
        callout: &Arc<Callout>,
        facts: &HookFacts,
    ) -> Result<Result<Verdict, StepFailed>, Stop> {
        let none = |why| Ok(Err(StepFailed::Callout(why)));
        let Some(door) = self.worker.shared.hooks.get() else {
            return none("there is no way out yet");
        };
        let Some(body) = facts::written(moment, self.work.facts.id, facts) else {
            return none("there is more to tell than may be");
        };
        let answer = door.ask(Arc::clone(callout), body);
        self.conn.slot().set(callout.timeout.saturating_add(GRACE));
        match self.conn.race(answer).await {
            Raced::Done(Ok(answer)) => Ok(read(moment, &answer)),
            Raced::Done(Err(why)) => none(why),
            Raced::Late if self.is_revoked() => Err(self.cut_off().into()),
            Raced::Late => none("it took too long"),
            Raced::Gone => Err(Stop::CallerGone),
        }
    }
}

/// `{"decision": "allow|deny|price", "price": "$…"}`, and nothing that could mean something else.
fn read(moment: Moment, answer: &[u8]) -> Result<Verdict, StepFailed> {
    let none = |why| Err(StepFailed::Callout(why));
    let Ok(answer) = read_json(answer, DEPTH_MAX) else {
        return none("it is no JSON");
    };
    let price = answer.get("price");
    match (answer.get("decision").and_then(Json::as_text), price) {
        (Some("allow"), None) => Ok(Verdict::default()),
        (Some("deny"), None) => Ok(Verdict::no()),
        (Some("price"), Some(Json::Text(price))) if moment == Moment::Price => {
            let dollars = price.starts_with('$').then(|| price.parse().ok());
            match dollars.flatten() {
                Some(usd) => Ok(Verdict {
                    price: Some(HookPrice::Usd(usd)),
                    ..Verdict::default()
                }),
                None => none("its price is none in dollars"),
            }
        }
        _ => none("it decides nothing that counts here"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // PAY-37
    #[test]
    fn only_a_plain_decision_counts() {
        let price = |told: Result<Verdict, StepFailed>| told.map(|verdict| verdict.price.is_some());
        for (name, text, want) in [
            ("allow", r#"{"decision":"allow"}"#, Some(false)),
            (
                "more is fine",
                r#"{"decision":"allow","why":[1]}"#,
                Some(false),
            ),
            (
                "price",
                r#"{"decision":"price","price":"$0.02"}"#,
                Some(true),
            ),
            ("price of nothing", r#"{"decision":"price"}"#, None),
            (
                "a price beside yes",
                r#"{"decision":"allow","price":"$0.02"}"#,
                None,
            ),
            (
                "a price without dollars",
                r#"{"decision":"price","price":"0.02"}"#,
                None,
            ),
            (
                "a price in sats",
                r#"{"decision":"price","price":"21sat"}"#,
                None,
            ),
            ("a number", r#"{"decision":"price","price":2}"#, None),
            (
                "less than nothing",
                r#"{"decision":"price","price":"$-1"}"#,
                None,
            ),
            ("another word", r#"{"decision":"Allow"}"#, None),
            ("twice", r#"{"decision":"deny","decision":"allow"}"#, None),
            ("nothing", "", None),
            ("no object", r#""allow""#, None),
            ("two", r#"{"decision":"allow"}{"decision":"allow"}"#, None),
        ] {
            assert_eq!(
                price(read(Moment::Price, text.as_bytes())).ok(),
                want,
                "{name}"
            );
        }
        let denied = read(Moment::Request, br#"{"decision":"deny"}"#).unwrap();
        assert!(denied.deny.is_some());
        let early = read(Moment::Request, br#"{"decision":"price","price":"$1"}"#);
        assert!(early.is_err(), "nothing has a price there");
    }
}

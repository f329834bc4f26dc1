//! Tokens that may no longer be used: for good, or for a while. What is on its way to their
//! holders ends too, unless the request says otherwise (ID-34).

use super::{shown, token_id, told};
use crate::State;
use crate::authn::Operator;
use crate::members::Members;
use crate::operation::Call;
use crate::problem::Problem;
use crate::router::{Answer, ok};
use crate::shape::{Member, choice, number, text};
use serde_json::json;
use std::str::FromStr;
use tollkeep_audit::{Action, Key, Value};
use tollkeep_store::live::Cut;
use tollkeep_store::{ProjectRef, Suspender, Switch};

/// What becomes of answers on their way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum InFlight {
    Cut,
    Finish,
}

impl FromStr for InFlight {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        match word {
            "cut" => Ok(Self::Cut),
            "finish" => Ok(Self::Finish),
            _ => Err(()),
        }
    }
}

pub(crate) const IN_FLIGHT: Member = choice(
    "in_flight",
    &["cut", "finish"],
    "What becomes of answers on their way; `cut` if not given",
);

/// Of what ends a token, for good or for a while.
pub(super) const REVOKE: &[Member] = &[text("reason", 200, "Why, for the records"), IN_FLIGHT];

pub(super) const REVOKED: &[Member] = &[
    number("revoked_count", "Tokens that are revoked now"),
    number("already_revoked_count", "Tokens that were revoked before"),
    number("total_tokens", "Tokens on record"),
];

const REASON: &str = "revoked by an operator";

const SUSPEND_REASON: &str = "suspended by an operator";

/// Takes what becomes of answers on their way.
pub(crate) fn in_flight(members: &mut Members) -> InFlight {
    members.choice("in_flight").unwrap_or(InFlight::Cut)
}

impl State {
    /// Ends what is on its way, if it is to end.
    pub(crate) async fn cut(
        &self,
        operator: &Operator,
        in_flight: InFlight,
        cuts: impl IntoIterator<Item = Cut>,
    ) -> Result<(), Problem> {
        match in_flight {
            InFlight::Cut => {
                let cuts = cuts.into_iter().collect();
                Ok(self.parts.store.cut(operator.scope(), cuts).await?)
            }
            InFlight::Finish => Ok(()),
        }
    }
}

/// `POST /api/v1/tokens/{id}/revoke`
pub(super) async fn revoke(call: Call) -> Answer {
    let Call {
        state,
        operator,
        id,
        body: mut members,
        ..
    } = call;
    let reason = members.text("reason");
    let in_flight = in_flight(&mut members);
    members.done()?;
    state.check_audit()?;
    let reason = reason.as_deref().unwrap_or(REASON);
    let store = &state.parts.store;
    let revoked = store
        .revoke_token(operator.scope(), token_id(&id)?, reason)
        .await?;
    let cut = Cut::Token(revoked.token.id, revoked.token.secret.digest);
    state.cut(&operator, in_flight, [cut]).await?;
    state
        .record(told(&state, &operator, Action::TokenRevoke, &revoked.token))
        .await?;
    Ok(ok(&shown(&state, &revoked.token)))
}

/// `POST /api/v1/tokens/{id}/suspend`
pub(super) async fn suspend(call: Call) -> Answer {
    let by = call.operator.name();
    let reason = SUSPEND_REASON.to_owned();
    switch(call, Switch::Off(Suspender { by, reason })).await
}

/// `POST /api/v1/tokens/{id}/resume`
pub(super) async fn resume(call: Call) -> Answer {
    switch(call, Switch::On).await
}

async fn switch(call: Call, mut switch: Switch) -> Answer {
    let Call {
        state,
        operator,
        id,
        body: mut members,
        ..
    } = call;
    let (action, in_flight) = match &mut switch {
        Switch::Off(by) => {
            if let Some(reason) = members.text("reason") {
                by.reason = reason;
            }
            (Action::TokenSuspend, in_flight(&mut members))
        }
        Switch::On => (Action::TokenResume, InFlight::Finish),
    };
    members.done()?;
    state.check_audit()?;
    let store = &state.parts.store;
    let token = store
        .switch_token(operator.scope(), token_id(&id)?, switch)
        .await?;
    let cut = Cut::Token(token.id, token.secret.digest);
    state.cut(&operator, in_flight, [cut]).await?;
    state
        .record(told(&state, &operator, action, &token))
        .await?;
    Ok(ok(&shown(&state, &token)))
}

/// `POST /api/v1/projects/{project}/tokens/revoke`
pub(super) async fn revoke_of_project(call: Call) -> Answer {
    let Call {
        state,
        operator,
        id,
        body: mut members,
        ..
    } = call;
    let reason = members.text("reason");
    let in_flight = in_flight(&mut members);
    members.done()?;
    let (store, scope) = (&state.parts.store, operator.scope());
    let project = store.project(scope, ProjectRef::of(&id)).await?;
    state.check_audit()?;
    let reason = reason.as_deref().unwrap_or(REASON);
    let done = store
        .revoke_project_tokens(scope, project.id, reason)
        .await?;
    let tokens = done.revoked.iter();
    let cuts = tokens.map(|(id, digest)| Cut::Token(*id, *digest));
    state.cut(&operator, in_flight, cuts).await?;
    let revoked = u64::try_from(done.revoked.len()).unwrap_or(u64::MAX);
    let event = state
        .event(&operator, Action::TokenRevokeBatch)
        .with_tenant_id(project.tenant_id)
        .with_project_id(project.id)
        .with_detail(Key::RevokedCount, Value::Number(revoked));
    state.record(event).await?;
    Ok(ok(&json!({
        "revoked_count": revoked,
        "already_revoked_count": done.already,
        "total_tokens": done.total,
    })))
}

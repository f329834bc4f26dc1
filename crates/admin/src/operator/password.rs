//! Passwords of operators: set by those who may make them, or by themselves.

use super::{changed, check_grant, find, is_own, password_fault};
use crate::members::Members;
use crate::operation::Call;
use crate::problem::Problem;
use crate::router::Answer;
use crate::shape::{Member, text};
use tollkeep_audit::Action;
use tollkeep_store::OperatorChange;
use tollkeep_types::Secret;

pub(super) const MEMBERS: &[Member] = &[
    text("password", 1000, "The new password, 12 characters at least").required(),
    text(
        "current",
        1000,
        "The password before, of somebody who changes their own",
    ),
];

pub(super) async fn set(call: Call) -> Answer {
    let person = find(&call).await?;
    let Call {
        state,
        operator,
        body: mut members,
        ..
    } = call;
    let password = take(&mut members, Some(&person.name), person.email.as_deref());
    let current = members.text("current").map(Secret::new);
    let is_own = is_own(&operator, &person);
    if is_own && current.is_none() {
        members.fault("current", "required to change one's own password");
    }
    if !is_own {
        check_grant(&operator, person.role)?;
    }
    members.done()?;
    let password = password.ok_or_else(Problem::internal)?;
    if person.issuer.is_some() {
        let detail = "They sign in by the identity provider, and have no password here.";
        return Err(Problem::conflict(detail));
    }
    if is_own {
        let current = current.ok_or_else(Problem::internal)?;
        let secrets = state
            .parts
            .store
            .operator_secrets(operator.scope(), person.id);
        let kept = secrets.await?.password;
        if !state.verify_password(current, kept).await? {
            state.count_failure(&operator.asked);
            return Err(Problem::wrong_password());
        }
    }
    let hash = state.hash_password(password).await?;
    let session = operator.session.as_ref().filter(|_| is_own);
    let keep = session.map(|signed| signed.session.id);
    let change = OperatorChange::Password { hash, keep };
    changed(&state, &operator, person, change, Action::OperatorPassword).await
}

/// Takes a password that somebody of these names may have.
pub(super) fn take(
    members: &mut Members,
    name: Option<&str>,
    email: Option<&str>,
) -> Option<Secret> {
    let password = members.text("password").map(Secret::new)?;
    let own = email.and_then(|email| email.split('@').next());
    let names: Vec<&str> = name.into_iter().chain(own).collect();
    if let Some(fault) = password_fault(&password, &names) {
        members.fault("password", fault);
    }
    Some(password)
}

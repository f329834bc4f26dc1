//! What the store refuses, as answers tell it.

use super::Problem;
use http::StatusCode;
use tollkeep_store::{Conflict, StoreError};

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound => Self::not_found(),
            StoreError::Conflict(conflict) => of_conflict(conflict),
            StoreError::Invalid(what) => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", what)
            }
            StoreError::Full => {
                let detail =
                    "The disk is full: nothing was changed. Free some space and try again.";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", detail)
            }
            StoreError::Unavailable(why) => {
                tracing::error!("The store is not available: {why}");
                let detail = "The store is not available: nothing was changed.";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", detail)
            }
        }
    }
}

fn of_conflict(conflict: Conflict) -> Problem {
    let detail = match conflict {
        Conflict::ProjectName => "A project of that name exists.",
        Conflict::ProjectSlug => "A project of that slug exists.",
        Conflict::TokenKnown => "That token exists already.",
        Conflict::TokenBlocked => "That token was revoked or has expired.",
        Conflict::TokenRotated => "The token was rotated already; its successor can be rotated.",
        Conflict::TokenNotOwn => "The token is not one that its holder replaces.",
        Conflict::LineageOver => "The line of the token is as old as one may become.",
        Conflict::IpEntriesFull => "There are 10000 entries: remove some, or list networks.",
        Conflict::TokenNotActive => "The token is no longer active.",
        Conflict::TenantSlug => "A tenant of that slug exists.",
        Conflict::TenantDefault => "The default tenant stays.",
        Conflict::TenantDeleted => "The tenant was deleted.",
        Conflict::TenantsFull => "There are too many tenants.",
        Conflict::ManagementKeysFull => "There are too many management keys.",
        Conflict::OperatorName => "An operator of that name exists.",
        Conflict::OperatorsFull => "There are too many operators.",
        Conflict::SessionsFull => "There are too many console sessions.",
        Conflict::ManagementKeyEnded => "The key was revoked or has expired.",
        Conflict::Unexpected => return Problem::precondition_failed(),
        Conflict::Overtaken => {
            "Another request with this Idempotency-Key took over: nothing was changed."
        }
        Conflict::Changed => "It was changed meanwhile: look again.",
        Conflict::LastOwner => {
            let detail = "One owner key must remain: make another first.";
            return Problem::new(StatusCode::CONFLICT, "last_owner", detail);
        }
        Conflict::CredentialsFull => "There are too many credentials.",
        Conflict::HoldOpen => "The call is under way: its cost is not known yet.",
        Conflict::HoldSettled => "What the call cost is known, or was said before.",
        Conflict::CostTooLarge => "With its markup that is more than can be reckoned with.",
        Conflict::PricesFull => "There are too many prices or price tables.",
        Conflict::PriceKnown => "Another override has that model, or marks up the same calls.",
        Conflict::SliceResolved => "Nothing of the slice is in doubt, or it was resolved before.",
        Conflict::SliceShort => "Less of the slice is in doubt than that.",
        Conflict::BudgetName => "A budget of that name exists.",
        Conflict::BudgetsFull => "There are too many budgets.",
        Conflict::AccountOpen => "The holder has an account in that unit.",
        Conflict::AccountClosed => "The account is closed.",
        Conflict::AccountNotEmpty => {
            "Something is on the account, or taken aside for calls under way."
        }
        Conflict::AccountShort => "There is not so much.",
        Conflict::AccountsFull => "There are too many accounts.",
        Conflict::Refunded => "Something was given back of that call before.",
        Conflict::CostNotFinal => "What the call cost may still change: settle its hold first.",
        Conflict::CredentialKnown => "Another credential has that secret.",
        Conflict::ServiceTokensFull => "There are too many service tokens.",
    };
    Problem::conflict(detail)
}

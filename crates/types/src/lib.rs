//! Values that cannot be wrong: ids, secrets, authorities, paths, times, token usage; and the
//! field names that are reserved.
//!
//! This crate does no I/O, reads no clock and draws no randomness; both come in through
//! [`Clock`] and [`Entropy`], which the binary fills.

#![warn(missing_docs)]

mod authority;
mod cache_purge;
mod client_certificate;
mod clock;
pub mod demand;
mod distinguished_name;
pub mod field_name;
mod hex;
pub mod html;
mod id;
mod key_pin;
pub mod money;
pub mod path;
mod secret;
pub mod tls;
mod token_hash;
pub mod usage;

pub use authority::{Authority, AuthorityError, AuthorityPattern, AuthorityRef};
pub use cache_purge::CachePurge;
pub use client_certificate::{
    AlternativeName, CertificateSha256, ClientCertificate, ParseAlternativeNameError,
    ParseSha256Error, ToldCertificate,
};
pub use clock::{Clock, Entropy, MonoNanos, ParseTimeError, TimeText, WallMillis};
pub use distinguished_name::{Attribute, AttributeValue, DistinguishedName, ParseNameError};
pub use hex::{LastHex, hex};
pub use id::{
    AccountId, BudgetId, ConsoleSessionId, CredentialId, EntryId, EventId, HoldId, IpEntryId,
    JobId, LeaseId, LineageId, ManagementKeyId, OperatorId, ParseIdError, PaymentId, ProjectId,
    ReplicaId, RequestId, ServiceTokenId, SessionId, StreamId, TenantId, TokenId,
};
pub use key_pin::{KeyPin, KeyPinError};
pub use secret::Secret;
pub use token_hash::TokenHash;

//! Nouns and where they are kept: projects, access tokens, management keys. The only crate with SQL.
//!
//! A [`Store`] is one SQLite file that one process holds open, or a PostgreSQL database that several
//! processes share. Everything that is acknowledged is on disk (WAL, `synchronous=FULL`). Every
//! change is made in one transaction, then shown to the data plane through [`live::LiveTokens`], and
//! both happen even if the asker goes away in between. Other processes show it when they read of it
//! in the list of changes.
//!
//! A statement has one text for both databases (`query`); where that can't be, the two stand side by
//! side.

#![warn(missing_docs)]

mod audit;
mod audit_checkpoint;
mod blocklist;
mod budget;
mod cleanup;
mod console_session;
mod credential;
mod database;
mod error;
mod follow;
mod idempotency;
mod intent;
mod ip_entry;
mod key_room;
mod lease;
pub mod ledger;
mod lend;
mod line_use;
pub mod live;
mod lock;
mod maintenance;
mod management_key;
mod meta;
mod migrate;
mod open;
mod operator;
mod outbox;
mod owner;
mod page;
mod payment;
mod postgres;
mod prepaid;
mod price;
mod project;
mod quarantine;
mod query;
mod row;
mod scope;
mod sealed;
mod service_token;
mod session;
mod sqlite;
mod tenant;
mod token;
mod trial;
mod usage;
mod wall;
mod write;

pub use audit::{
    AuditBy, AuditFilter, AuditOrder, AuditPlace, AuditStanding, AuditStream, AuditSum, DueRecord,
    OwedRecord, Prunable, ToldEntries,
};
pub use budget::{
    BudgetChange, BudgetFilter, BudgetOrigin, BudgetRecord, BudgetWindow, ConfiguredBudgets,
    NewBudget,
};
pub use cleanup::Cleaned;
pub use console_session::{ConsoleSession, NewConsoleSession, SessionHolder};
pub use credential::{
    Credential, CredentialFilter, CredentialModel, CredentialRest, CredentialRules, CredentialUse,
    GivenUrl, NewCredential, PutCredential, SealedSecret,
};
pub use error::{Conflict, OpenError, StoreError};
pub use follow::Herald;
pub use idempotency::{Claim, KeptAnswer, RunEnd, RunKey};
pub use intent::Check;
pub use ip_entry::{IpEntry, IpEntryRef, IpListName, NewIpEntry, PutIpEntry};
pub use line_use::LineMinute;
pub use maintenance::MaintenanceOn;
pub use management_key::{
    KeyChange, LastOwner, ManagementKey, ManagementSecret, NewManagementKey, Role,
};
pub use migrate::Migrate;
pub use open::{Place, Store, StoreOptions};
pub use operator::{
    Attempt, NewOperator, Operator, OperatorChange, OperatorSecrets, ProviderOperator, SecondFactor,
};
pub use outbox::{DueNotice, Happened, Notice, Teller, Untold};
pub use page::{After, Page, PageRequest};
pub use payment::{
    CreditSum, NamedPayment, NewPayment, PaymentAnswer, PaymentChange, PaymentFilter, PaymentMode,
    PaymentRecord, PaymentState, Reserved, RevenueBy, RevenueSum,
};
pub use postgres::{PostgresLogin, PostgresOptions, PostgresTls};
pub use prepaid::{AccountFilter, NewAccount, PrepaidAccount};
pub use price::{KeptPrices, KeptTable, PriceOverride};
pub use project::{DeletedProject, NewProject, Project, ProjectChange, ProjectRef, ProjectState};
pub use quarantine::Quarantine;
pub use scope::Scope;
pub use sealed::{SEALED_BATCH, SealedCursor, SealedRecord};
pub use service_token::{Door, NewServiceToken, ServiceRotation, ServiceSecret, ServiceToken};
pub use session::{
    NewSession, NewUse, SessionEnded, SessionFilter, SessionJudge, SessionModel, SessionRecord,
    SessionShare, SessionState, SessionTaken, SessionVerdict, UseCharge, UseRecord,
};
pub use tenant::{NewTenant, Tenant, TenantChange, TenantRef, TenantStatus};
pub use token::{
    Bindings, CallLimits, NewToken, OwnRotation, Permission, ProjectRevocation, Revocation,
    Rotated, Rotation, Standing, Suspender, Switch, Token, TokenChange, TokenFilter, TokenSecret,
    TokenState,
};
pub use trial::Trial;

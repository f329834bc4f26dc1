//! The data plane: one request from admission to record.
//!
//! `lifecycle.rs` reads like the product in one sentence; every stage has a file of its own and
//! hands on a proof that the next one needs. A [`Worker`] owns what one thread needs, a
//! [`Plan`] is the immutable snapshot of settings that a request keeps from its start to
//! its end.

mod admit;
mod answer;
mod asked_itself;
mod attempts;
mod body_coding;
mod breaker;
mod cache;
mod call_policy;
mod challenge;
mod condition;
mod cors;
mod counted;
mod counter_keeper;
mod credentials;
mod discovery;
mod doors;
mod edge_limits;
mod explain;
mod fail_over;
mod folds;
mod form;
mod front_door;
mod gemini;
mod grant;
mod head_hold;
mod health;
mod holds;
mod hooks;
mod http2;
mod identify;
mod kept;
mod labels;
mod lifecycle;
mod management_door;
mod meanwhile;
mod models;
mod names;
mod overrides;
mod own_token;
mod paid;
pub mod plan;
mod probe;
mod pump;
mod read_call;
mod record;
mod recorder;
mod refusal;
mod refused_as;
mod relay;
mod route;
mod route_index;
mod seed_names;
mod send;
mod served;
mod set_fields;
mod settle;
mod shared_limits;
mod shed;
mod sign;
mod standing;
mod stored;
mod stream_alive;
mod stream_back;
mod stream_up;
mod surface_routes;
mod tally;
mod token_rates;
mod told_cost;
mod told_limits;
mod upstream_body;
mod upstream_error;
mod upstream_head;
mod worker;

pub use cache::ResponseCache;
pub use counter_keeper::{CounterNaming, Keeper, KeeperParts, OnChange};
pub use credentials::{ServedModel, StoredCredential};
pub use explain::Explained;
pub use holds::{Bears, BoundOptions, End, Holds, HoldsKeeper, HoldsParts, Money, OnMoney};
pub use hooks::{FailedRequest, HookAnswer, HookDoor, HookFailures};
pub use management_door::{
    Field as ManagementField, ManagementAnswer, ManagementDoor, ManagementRequest,
};
pub use overrides::{MaintenanceOverride, Overrides};
pub use own_token::{TokenAnswer, TokenAsk, TokenDoor, TokenNo};
pub use paid::{
    AnswerCopy, Delivery, Ending, Named, NotPaid, Opened, Opening, Paid, PayerSeat, Payers, Paying,
    PaymentDoor, Recalled, Recalling, Remembered, SessionEnd, SessionLeft, SessionUse,
    SessionWanted, Shown, Standing, TokenBound, token_bound,
};
pub use plan::{CredentialPlace, Plan, PlanError};
pub use probe::CredentialProbe;
pub use recorder::{Recorder, Sinks};
pub use shared_limits::{Asks, SharedLimits};
pub use shed::{KNOWN_SPAN_NS, MemoryPressure};
pub use stored::StoredCredentials;
pub use surface_routes::surface_route;
pub use tally::{LineCounts, LineMinutes, Tally};
pub use worker::{Shared, Worker};

//! A session as it is kept, and what calls have taken of it.

use crate::query::Row;
use crate::{StoreError, row};
use std::fmt;
use std::sync::Arc;
use tollkeep_types::{HoldId, PaymentId, RequestId, SessionId, TenantId, TokenHash, WallMillis};

/// How a session is used up.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(
    missing_docs,
    reason = "each is its word; `payments::session` says what they mean"
)]
pub enum SessionModel {
    TimePass,
    TokenBucket,
    Metered,
    PerKb,
    Credit,
}

impl SessionModel {
    const ALL: [Self; 5] = [
        Self::TimePass,
        Self::TokenBucket,
        Self::Metered,
        Self::PerKb,
        Self::Credit,
    ];

    /// The word in tables and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TimePass => "time_pass",
            Self::TokenBucket => "token_bucket",
            Self::Metered => "metered",
            Self::PerKb => "per_kb",
            Self::Credit => "credit",
        }
    }
}

/// Whether a session may be used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SessionState {
    /// Until it ends, or there is nothing left.
    Open,
    /// An operator has ended it.
    Revoked,
}

impl SessionState {
    /// The word in tables and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Revoked => "revoked",
        }
    }
}

/// Why a session is over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SessionEnded {
    /// Its time is.
    Expired,
    /// An operator said so.
    Revoked,
    /// There is no such route any more.
    RouteRemoved,
}

impl SessionEnded {
    /// The word in tables and in what is told.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::RouteRemoved => "route_removed",
        }
    }

    /// What the session is then: one whose time is over is known by that.
    pub(super) const fn state(self) -> SessionState {
        match self {
            Self::Expired => SessionState::Open,
            Self::Revoked | Self::RouteRemoved => SessionState::Revoked,
        }
    }
}

/// A session to begin, with the money of a payment.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "as in `SessionRecord`")]
pub struct NewSession {
    pub id: SessionId,
    pub token_hash: TokenHash,
    pub scope: String,
    pub model: SessionModel,
    pub calls: u64,
    pub unit_cost: u64,
    pub expires_at: WallMillis,
}

/// A session as it is kept.
#[derive(Clone)]
pub struct SessionRecord {
    /// Its id.
    pub id: SessionId,
    /// Whose route it is for.
    pub tenant: TenantId,
    /// The keyed hash of its token.
    pub token_hash: TokenHash,
    /// The payment that it was bought with.
    pub payment: PaymentId,
    /// The route that it is for; of credit, what stands for all of them.
    pub scope: String,
    /// How it is used up.
    pub model: SessionModel,
    /// Who paid.
    pub payer: String,
    /// What was paid in, as CAIP-19 names it.
    pub unit: String,
    /// What that is called.
    pub symbol: String,
    /// Its decimals.
    pub decimals: u8,
    /// What came.
    pub paid: u64,
    /// What nobody has taken of that.
    pub money: u64,
    /// What calls under way have.
    pub held: u64,
    /// Calls that nobody has taken.
    pub calls: u64,
    /// What a call or a KiB takes.
    pub unit_cost: u64,
    /// Whether it may be used.
    pub state: SessionState,
    /// When it ends.
    pub expires_at: WallMillis,
    /// When it began.
    pub created_at: WallMillis,
    /// When it last changed.
    pub updated_at: WallMillis,
}

impl fmt::Debug for SessionRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionRecord")
            .field("id", &self.id)
            .field("model", &self.model)
            .field("money", &self.money)
            .field("held", &self.held)
            .field("calls", &self.calls)
            .finish_non_exhaustive()
    }
}

/// A share of a session.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SessionShare {
    /// Money.
    pub money: u64,
    /// Calls.
    pub calls: u64,
}

/// What is to be done for a call that wants something of a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SessionVerdict {
    /// So much is taken aside for it; nothing, where it needs none.
    Take(SessionShare),
    /// There is not enough.
    Short,
    /// The session has ended.
    Ended,
    /// It is none that this caller may use.
    Foreign,
}

/// Judges that by what is kept at that moment, and the time.
pub type SessionJudge = Arc<dyn Fn(&SessionRecord, WallMillis) -> SessionVerdict + Send + Sync>;

/// What a call takes.
#[derive(Clone, Debug)]
pub struct NewUse {
    /// Its id.
    pub id: HoldId,
    /// The request.
    pub request: RequestId,
    /// The process that serves it, and until when nobody else may end it.
    pub lease: (String, WallMillis),
}

/// What came of it.
#[derive(Clone, Debug)]
pub enum SessionTaken {
    /// It is taken aside; what is kept of the session now, and how much was taken.
    Taken(Box<SessionRecord>, SessionShare),
    /// There is not enough; what is kept of the session.
    Short(Box<SessionRecord>),
    /// It is not.
    Refused(SessionVerdict),
    /// There is no such session.
    Absent,
}

/// What a call is charged of what it took.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UseCharge {
    /// All of it.
    All,
    /// So much money of it.
    Part(u64),
    /// Nothing: it did not happen.
    Nothing,
}

/// What a call has taken, as it is kept.
#[derive(Clone, Debug)]
pub struct UseRecord {
    /// Its id.
    pub id: HoldId,
    /// The session.
    pub session: SessionId,
    /// The request.
    pub request: RequestId,
    /// Whether a byte may have gone to the caller.
    pub is_delivering: bool,
    /// What it took.
    pub share: SessionShare,
    /// What was delivered of it, when that was last written down.
    pub due: u64,
}

fn unreadable() -> StoreError {
    StoreError::Unavailable("a session can't be read".to_owned())
}

pub(super) fn read(row: &Row) -> Result<SessionRecord, StoreError> {
    let model = row::text(row, "model")?;
    let model = SessionModel::ALL
        .into_iter()
        .find(|known| known.as_str() == model);
    let state = match row::text(row, "state")?.as_str() {
        "open" => SessionState::Open,
        "revoked" => SessionState::Revoked,
        _ => return Err(unreadable()),
    };
    let decimals = u8::try_from(row::number(row, "decimals")?);
    Ok(SessionRecord {
        id: row::id(row, "id")?,
        tenant: row::id(row, "tenant_id")?,
        token_hash: row::digest(row, "token_hash")?,
        payment: row::id(row, "payment_id")?,
        scope: row::text(row, "scope")?,
        model: model.ok_or_else(unreadable)?,
        payer: row::text(row, "payer")?,
        unit: row::text(row, "unit")?,
        symbol: row::text(row, "symbol")?,
        decimals: decimals.map_err(|_| unreadable())?,
        paid: row::number(row, "paid")?,
        money: row::number(row, "money")?,
        held: row::number(row, "held")?,
        calls: row::number(row, "calls")?,
        unit_cost: row::number(row, "unit_cost")?,
        state,
        expires_at: row::time(row, "expires_at")?,
        created_at: row::time(row, "created_at")?,
        updated_at: row::time(row, "updated_at")?,
    })
}

pub(super) fn read_use(row: &Row) -> Result<UseRecord, StoreError> {
    Ok(UseRecord {
        id: row::id(row, "id")?,
        session: row::id(row, "session_id")?,
        request: row::id(row, "request_id")?,
        is_delivering: row::text(row, "state")? == "delivering",
        share: SessionShare {
            money: row::number(row, "money")?,
            calls: row::number(row, "calls")?,
        },
        due: row::number(row, "due")?,
    })
}

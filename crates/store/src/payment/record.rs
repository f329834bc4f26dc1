//! A payment as it is kept.

use crate::query::Row;
use crate::session::NewSession;
use crate::{StoreError, row};
use std::fmt;
use tollkeep_types::{PaymentId, RequestId, TenantId, WallMillis};

/// When money is taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PaymentMode {
    /// Before the upstream is called.
    Before,
    /// When it has answered.
    After,
    /// When all of it was delivered, so much as that came to.
    Upto,
}

/// Where a payment stands.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[expect(
    missing_docs,
    reason = "each is its word; `payments::state` says what they mean"
)]
pub enum PaymentState {
    Pending,
    Serving,
    Settling,
    Unknown,
    Settled,
    Delivering,
    Credit,
    Redeeming,
    Spent,
    Voided,
    Released,
}

impl PaymentMode {
    /// The word in tables and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::After => "after",
            Self::Upto => "upto",
        }
    }
}

impl PaymentState {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Pending,
        Self::Serving,
        Self::Settling,
        Self::Unknown,
        Self::Settled,
        Self::Delivering,
        Self::Credit,
        Self::Redeeming,
        Self::Spent,
        Self::Voided,
        Self::Released,
    ];

    /// The word in tables and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Serving => "serving",
            Self::Settling => "settling",
            Self::Unknown => "unknown",
            Self::Settled => "settled",
            Self::Delivering => "delivering",
            Self::Credit => "credit",
            Self::Redeeming => "redeeming",
            Self::Spent => "spent",
            Self::Voided => "voided",
            Self::Released => "released",
        }
    }

    /// The state of a word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Whether somebody works on it.
    pub const fn is_worked_on(self) -> bool {
        match self {
            Self::Pending
            | Self::Serving
            | Self::Settling
            | Self::Settled
            | Self::Delivering
            | Self::Redeeming => true,
            Self::Unknown | Self::Credit | Self::Spent | Self::Voided | Self::Released => false,
        }
    }

    /// Whether a facilitator may have to be told the same once more, or somebody may still have
    /// something for the very proof.
    pub(super) const fn keeps_proof(self) -> bool {
        !matches!(self, Self::Spent | Self::Voided | Self::Released)
    }

    /// Where its money is.
    pub(super) const fn money(self) -> Money {
        match self {
            Self::Pending
            | Self::Serving
            | Self::Settling
            | Self::Unknown
            | Self::Voided
            | Self::Released => Money::Outside,
            Self::Settled | Self::Delivering | Self::Credit | Self::Redeeming => Money::Owed,
            Self::Spent => Money::Earned,
        }
    }
}

/// Where the money of a payment is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Money {
    /// Not here.
    Outside,
    /// Here, and the payer's.
    Owed,
    /// Ours.
    Earned,
}

/// A payment to be reserved, in state `pending`.
#[derive(Clone)]
pub struct NewPayment {
    /// Its id.
    pub id: PaymentId,
    /// Whose route it is for.
    pub tenant: TenantId,
    /// The identity by which its proof is spent once.
    pub key: [u8; 32],
    /// The route.
    pub route: String,
    /// When money is taken.
    pub mode: PaymentMode,
    /// The token, as CAIP-19 names it.
    pub unit: String,
    /// What the token is called.
    pub symbol: String,
    /// Decimals of one whole token.
    pub decimals: u8,
    /// The network, as CAIP-2 names it.
    pub network: String,
    /// How much, in the token's smallest unit.
    pub quoted: u64,
    /// What the price was made from.
    pub request_digest: [u8; 32],
    /// The request that showed it.
    pub request: RequestId,
    /// Who pays.
    pub payer: String,
    /// Who is paid.
    pub pay_to: String,
    /// Who is asked to settle it.
    pub facilitator: String,
    /// What that one will be told, sealed.
    pub proof: String,
    /// The proof is worth nothing after this.
    pub ends_at: WallMillis,
    /// Who works on it.
    pub holder: String,
    /// Until when nobody else may.
    pub lease_until: WallMillis,
    /// What its payer calls it, if it says so.
    pub named: Option<super::NamedPayment>,
}

impl fmt::Debug for NewPayment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewPayment")
            .field("id", &self.id)
            .field("route", &self.route)
            .finish_non_exhaustive()
    }
}

/// What a reservation came to.
#[derive(Clone, Debug)]
pub enum Reserved {
    /// It is there, for this proof and whoever reserved it.
    New,
    /// The proof was shown before.
    Known(Box<PaymentRecord>),
    /// Its payer calls something else so; nothing is reserved.
    NameTaken,
}

/// A change of a payment.
#[derive(Clone, Debug)]
pub struct PaymentChange {
    /// The state that was read.
    pub from: PaymentState,
    /// The version that was read.
    pub version: u64,
    /// The state to come.
    pub to: PaymentState,
    /// How often a facilitator was told.
    pub calls: u8,
    /// Whether a broken delivery was made good for.
    pub was_made_good: bool,
    /// How much of it is to be settled, from now on.
    pub due: Option<u64>,
    /// Another facilitator is asked from now on.
    pub facilitator: Option<String>,
    /// The transaction, where it is known now.
    pub transaction: Option<String>,
    /// Why, where there is something to say.
    pub reason: Option<String>,
    /// Who works on it now, and until when, where somebody does.
    pub lease: Option<(String, WallMillis)>,
    /// When it is looked at next, if nobody knows what became of it.
    pub look_at: Option<WallMillis>,
    /// The session that its money becomes, where that is how it ends.
    pub opens: Option<NewSession>,
}

/// A payment as it is kept.
#[derive(Clone)]
#[expect(missing_docs, reason = "as in `NewPayment`")]
pub struct PaymentRecord {
    pub id: PaymentId,
    pub tenant: TenantId,
    pub key: [u8; 32],
    pub route: String,
    pub mode: PaymentMode,
    pub state: PaymentState,
    pub version: u64,
    pub calls: u8,
    pub was_made_good: bool,
    pub unit: String,
    pub symbol: String,
    pub decimals: u8,
    pub network: String,
    pub quoted: u64,
    /// What is to be settled of it, where that may be less.
    pub due: Option<u64>,
    pub received: Option<u64>,
    pub request_digest: [u8; 32],
    pub request: RequestId,
    pub payer: String,
    pub pay_to: String,
    pub facilitator: String,
    /// Sealed; `None` where it will not be told again.
    pub proof: Option<String>,
    pub transaction: Option<String>,
    pub reason: Option<String>,
    pub ends_at: WallMillis,
    pub lease_until: Option<WallMillis>,
    /// How often it was looked at.
    pub looks: u32,
    pub created_at: WallMillis,
    pub updated_at: WallMillis,
    pub settled_at: Option<WallMillis>,
    /// Hashes of the ledger's entries that were made by the change that gave this; none where it was
    /// only read.
    pub made: Vec<[u8; 32]>,
}

impl PaymentRecord {
    /// How much moves when it is settled: all that was signed for, or what was made of it.
    pub fn amount(&self) -> u64 {
        self.received.or(self.due).unwrap_or(self.quoted)
    }
}

impl fmt::Debug for PaymentRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PaymentRecord")
            .field("id", &self.id)
            .field("state", &self.state)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

fn unreadable() -> StoreError {
    StoreError::Unavailable("a payment can't be read".to_owned())
}

fn digest(row: &Row, column: &str) -> Result<[u8; 32], StoreError> {
    let bytes: &[u8] = row::value(row, column)?;
    bytes.try_into().map_err(|_| unreadable())
}

fn small<T: TryFrom<u64>>(row: &Row, column: &str) -> Result<T, StoreError> {
    T::try_from(row::number(row, column)?).map_err(|_| unreadable())
}

pub(super) fn read(row: &Row) -> Result<PaymentRecord, StoreError> {
    let mode = match row::text(row, "mode")?.as_str() {
        "before" => PaymentMode::Before,
        "after" => PaymentMode::After,
        "upto" => PaymentMode::Upto,
        _ => return Err(unreadable()),
    };
    let state = PaymentState::from_word(&row::text(row, "state")?);
    Ok(PaymentRecord {
        id: row::id(row, "id")?,
        tenant: row::id(row, "tenant_id")?,
        key: digest(row, "key_digest")?,
        route: row::text(row, "route")?,
        mode,
        state: state.ok_or_else(unreadable)?,
        version: row::number(row, "version")?,
        calls: small(row, "calls")?,
        was_made_good: row::value(row, "was_made_good")?,
        unit: row::text(row, "unit")?,
        symbol: row::text(row, "symbol")?,
        decimals: small(row, "decimals")?,
        network: row::text(row, "network")?,
        quoted: row::number(row, "quoted")?,
        due: row::number_if_set(row, "due")?,
        received: row::number_if_set(row, "received")?,
        request_digest: digest(row, "request_digest")?,
        request: row::id(row, "request_id")?,
        payer: row::text(row, "payer")?,
        pay_to: row::text(row, "pay_to")?,
        facilitator: row::text(row, "facilitator")?,
        proof: row::value(row, "proof")?,
        transaction: row::value(row, "transaction_id")?,
        reason: row::value(row, "reason")?,
        ends_at: row::time(row, "ends_at")?,
        lease_until: row::time_if_set(row, "lease_until")?,
        looks: small(row, "looks")?,
        created_at: row::time(row, "created_at")?,
        updated_at: row::time(row, "updated_at")?,
        settled_at: row::time_if_set(row, "settled_at")?,
        made: Vec::new(),
    })
}

//! What becomes of a payment: from the proof that is shown to money that was earned, is owed, or
//! never moved.
//!
//! A pure step: the row as it is kept and what happened give the row that replaces it (compare and
//! set, with the posting that belongs to it in one transaction) and what is to be done then. Three
//! laws hold at every instant, whatever fails: one proof pays for one delivery; money that was
//! taken for nothing is credit; where nobody knows, nobody is asked to pay again.

/// When money is taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// Before the upstream is called.
    Before,
    /// When the upstream has answered, before a byte of that goes out.
    After,
    /// When the delivery has ended, and only so much as it came to.
    Upto,
}

/// Where a payment stands.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum State {
    /// Reserved, and somebody works on it.
    Pending,
    /// A byte went to the caller, or is about to, and nothing was taken for it yet; in mode `Upto`
    /// only.
    Serving,
    /// A facilitator is about to be told to settle, or was; in modes `After` and `Upto` only, where
    /// `Pending` and `Serving` say that it was not.
    Settling,
    /// It may have been settled.
    Unknown,
    /// The money is here, and somebody works on the delivery.
    Settled,
    /// A byte went to the caller, or is about to.
    Delivering,
    /// The money is here and nothing was had for it.
    Credit,
    /// Credit that somebody works on the delivery for.
    Redeeming,
    /// Delivered.
    Spent,
    /// Refused; the proof is burnt.
    Voided,
    /// Given up before anybody was asked for money; the proof may come again.
    Released,
}

/// A payment as it is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Row {
    /// Where it stands.
    pub state: State,
    /// Counts the changes; whoever writes names the one it read. While it stays, nothing has to be
    /// written.
    pub version: u64,
    /// How often a facilitator was told to settle it since it was reserved, as far as is known.
    pub calls: u8,
    /// Whether a broken delivery was made good for once.
    pub was_made_good: bool,
}

/// What happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event {
    /// A proof was shown that passed the local checks.
    Shown {
        /// Whether credit for it, if there is some, covers the request.
        is_covered: bool,
    },
    /// The facilitator would settle it, or is not asked first.
    Verified,
    /// The upstream has answered, in modes `After` and `Upto`.
    UpstreamAnswered,
    /// We stop, and nobody was told to settle.
    GaveUp,
    /// A facilitator is about to be told to settle.
    SettleCalled,
    /// What that one said.
    SettleTold(Told),
    /// Who worked on it is gone: crashed, restarted, or paused for too long.
    LeaseEnded,
    /// What the chain, the facilitator or an operator says of it later.
    Reconciled(Found),
    /// The first byte, or a head without any, is about to go to the caller.
    HeadReady,
    /// It buys more than one call: all of it becomes the balance of a session.
    BecameSession,
    /// Nothing reached the caller.
    NotDelivered,
    /// The delivery ended.
    Ended,
    /// It ended, and comes to nothing; in mode `Upto` only.
    EndedForNothing,
    /// It broke off.
    Broke {
        /// Whether that is to be made good for.
        is_made_good: bool,
    },
}

/// What a facilitator said of a settlement.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Told {
    /// The money moved.
    Settled,
    /// It did not, and never will by this call.
    Refused,
    /// The nonce is used.
    NonceUsed,
    /// It is on its way.
    Pending,
    /// No connection: it was never told.
    Unsent,
    /// Nothing that can be understood.
    Unknown,
}

/// What is found about an unknown payment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Found {
    /// The transfer, of at least the amount.
    Transfer,
    /// The signature was never used and can't be any more.
    Unused,
    /// Nothing that decides.
    Nothing,
}

/// What is to be done once the row is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Command {
    /// Ask the facilitator whether it would settle.
    Verify,
    /// Say that it is about to be told, then tell it to settle: the same bytes to the same one.
    Settle,
    /// Set the money aside for this delivery.
    Hold,
    /// Call the upstream.
    CallUpstream,
    /// Say that the head is ready, then let the answer go.
    Deliver,
    /// Book the money as received.
    Post,
    /// Book what was delivered as earned.
    Earn,
    /// Give what was set aside back to the credit.
    Release,
    /// Find out later what became of it.
    Reconcile,
    /// Answer the caller.
    Answer(Answer),
}

/// What the caller is told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    /// 409: somebody works on this proof.
    InProgress,
    /// 503: nobody knows what became of the money.
    Pending,
    /// 503: no facilitator could be reached, and none was told.
    Unavailable,
    /// 402: the proof was used.
    AlreadyUsed,
    /// 402: the facilitator refused.
    SettlementFailed,
    /// 402: the credit of this proof is for less.
    NotCovered,
    /// 402: this payer was served and has not paid for it.
    Uncollected,
    /// 402: nothing is left of the session.
    Exhausted,
    /// 402: the session has ended.
    SessionEnded,
    /// 402: there is no such session.
    NoSession,
    /// 502, with the receipt: paid, and nothing was had for it yet.
    Owed,
    /// 409: the payer has called something else by the same name.
    IdentifierTaken,
    /// 402: nothing was bought with this proof, and now nothing can be.
    NothingBought,
}

impl Answer {
    /// Whether the caller is asked to pay.
    pub const fn has_challenge(self) -> bool {
        match self {
            Self::AlreadyUsed
            | Self::SettlementFailed
            | Self::NotCovered
            | Self::Uncollected
            | Self::Exhausted
            | Self::SessionEnded
            | Self::NoSession
            | Self::NothingBought => true,
            Self::InProgress
            | Self::Pending
            | Self::Unavailable
            | Self::Owed
            | Self::IdentifierTaken => false,
        }
    }

    /// The status and the code.
    pub const fn told(self) -> (u16, &'static str) {
        match self {
            Self::InProgress => (409, "payment_in_progress"),
            Self::Pending => (503, "payment_pending"),
            Self::Unavailable => (503, "payment_unavailable"),
            Self::AlreadyUsed => (402, "payment_already_used"),
            Self::SettlementFailed => (402, "settlement_failed"),
            Self::NotCovered => (402, "price_mismatch"),
            Self::Uncollected => (402, "payment_uncollected"),
            Self::Exhausted => (402, "insufficient_balance"),
            Self::SessionEnded => (402, "session_expired"),
            Self::NoSession => (402, "invalid_session"),
            Self::Owed => (502, "upstream_failed_retryable"),
            Self::IdentifierTaken => (409, "payment_identifier_conflict"),
            Self::NothingBought => (402, "payment_required"),
        }
    }
}

/// A row and what is to be done once it is written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Step {
    /// The row that replaces the one that was read.
    pub row: Row,
    /// What is to be done then, in this order.
    pub commands: Vec<Command>,
}

/// An event that has no place in this state: who tells it has missed something.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{event:?} has no place in {state:?}")]
pub struct Misplaced {
    /// Where the payment stands; `None`: there is none.
    pub state: Option<State>,
    /// What was told.
    pub event: Event,
}

/// What becomes of a payment by an event; `row` is what is kept of it, if it is known.
///
/// # Errors
/// The event has no place here; nothing is to be done.
pub fn step(row: Option<&Row>, mode: Mode, event: Event) -> Result<Step, Misplaced> {
    let misplaced = || Misplaced {
        state: row.map(|row| row.state),
        event,
    };
    let next = match (row, event) {
        (row, Event::Shown { is_covered }) => shown(row, is_covered),
        (None, _) => return Err(misplaced()),
        (Some(row), Event::LeaseEnded) => lease_ended(row, mode),
        (Some(row), Event::SettleTold(told)) => {
            settle_told(row, mode, told).ok_or_else(misplaced)?
        }
        (Some(row), event) => worked(row, mode, event).ok_or_else(misplaced)?,
    };
    Ok(next)
}

impl Row {
    const NEW: Self = Self {
        state: State::Pending,
        version: 0,
        calls: 0,
        was_made_good: false,
    };

    /// The row in another state.
    fn to(self, state: State) -> Self {
        Self {
            state,
            version: self.version.saturating_add(1),
            ..self
        }
    }

    fn then(self, state: State, commands: &[Command]) -> Step {
        Step {
            row: self.to(state),
            commands: commands.to_vec(),
        }
    }

    /// As it was.
    fn stays(self, commands: &[Command]) -> Step {
        Step {
            row: self,
            commands: commands.to_vec(),
        }
    }
}

fn shown(row: Option<&Row>, is_covered: bool) -> Step {
    let Some(row) = row.copied() else {
        return Row::NEW.stays(&[Command::Verify]);
    };
    match row.state {
        State::Released => Row { calls: 0, ..row }.then(State::Pending, &[Command::Verify]),
        State::Pending
        | State::Serving
        | State::Settling
        | State::Settled
        | State::Delivering
        | State::Redeeming => row.stays(&[Command::Answer(Answer::InProgress)]),
        State::Unknown => row.stays(&[Command::Reconcile, Command::Answer(Answer::Pending)]),
        State::Credit if is_covered => {
            row.then(State::Redeeming, &[Command::Hold, Command::CallUpstream])
        }
        State::Credit => row.stays(&[Command::Answer(Answer::NotCovered)]),
        State::Spent | State::Voided => row.stays(&[Command::Answer(Answer::AlreadyUsed)]),
    }
}

fn worked(row: &Row, mode: Mode, event: Event) -> Option<Step> {
    let row = *row;
    Some(match (row.state, event) {
        (State::Pending, Event::Verified) => row.stays(match mode {
            Mode::Before => &[Command::Settle],
            Mode::After | Mode::Upto => &[Command::CallUpstream],
        }),
        (State::Pending, Event::UpstreamAnswered) => match mode {
            Mode::Before => return None,
            Mode::After => row.stays(&[Command::Settle]),
            Mode::Upto => row.stays(&[Command::Deliver]),
        },
        (State::Pending, Event::HeadReady) if mode == Mode::Upto => row.then(State::Serving, &[]),
        (State::Serving, Event::Ended) => row.stays(&[Command::Settle]),
        (State::Serving, Event::EndedForNothing) => row.then(State::Released, &[]),
        (State::Serving, Event::Broke { is_made_good }) => served_in_part(row, is_made_good),
        (State::Settled | State::Redeeming, Event::UpstreamAnswered) => {
            row.stays(&[Command::Deliver])
        }
        (State::Pending, Event::GaveUp) if row.calls == 0 => row.then(State::Released, &[]),
        (State::Pending, Event::SettleCalled) if mode == Mode::Upto => return None,
        (State::Pending | State::Serving | State::Settling, Event::SettleCalled) => {
            let calls = row.calls.saturating_add(1);
            let row = Row { calls, ..row };
            match mode {
                // What is reserved in this mode is as good as told: nothing has to be written.
                Mode::Before => row.stays(&[]),
                Mode::After | Mode::Upto => row.then(State::Settling, &[]),
            }
        }
        (State::Settled | State::Redeeming, Event::HeadReady) => row.then(State::Delivering, &[]),
        (State::Settled | State::Redeeming, Event::BecameSession) => row.then(State::Spent, &[]),
        (State::Settled | State::Redeeming, Event::NotDelivered) => {
            let told = Command::Answer(Answer::Owed);
            row.then(State::Credit, &[Command::Release, told])
        }
        (State::Delivering, Event::Ended) => row.then(State::Spent, &[Command::Earn]),
        (State::Delivering, Event::Broke { is_made_good }) => {
            if is_made_good && !row.was_made_good {
                let was_made_good = true;
                let row = Row {
                    was_made_good,
                    ..row
                };
                row.then(State::Credit, &[Command::Release])
            } else {
                row.then(State::Spent, &[Command::Earn])
            }
        }
        (State::Unknown, Event::Reconciled(found)) => match found {
            Found::Transfer => came(row, mode),
            Found::Unused => row.then(State::Voided, &[]),
            Found::Nothing => row.stays(&[Command::Reconcile]),
        },
        _ => return None,
    })
}

/// Nothing is taken for what is made good for, and its proof may come again.
fn served_in_part(row: Row, is_made_good: bool) -> Step {
    if !is_made_good || row.was_made_good {
        return row.stays(&[Command::Settle]);
    }
    let row = Row {
        was_made_good: true,
        ..row
    };
    row.then(State::Released, &[])
}

/// The money of an unknown payment is here: where it was served for already, it is earned.
fn came(row: Row, mode: Mode) -> Step {
    match mode {
        Mode::Before | Mode::After => row.then(State::Credit, &[Command::Post]),
        Mode::Upto => row.then(State::Spent, &[Command::Post, Command::Earn]),
    }
}

fn settle_told(row: &Row, mode: Mode, told: Told) -> Option<Step> {
    let row = *row;
    if row.state == State::Unknown {
        // Only a yes says anything now: an earlier call may be what it is refused for.
        return Some(match told {
            Told::Settled => came(row, mode),
            Told::Refused | Told::NonceUsed | Told::Pending | Told::Unsent | Told::Unknown => {
                row.stays(&[Command::Reconcile])
            }
        });
    }
    if !matches!(row.state, State::Pending | State::Settling) || row.calls == 0 {
        return None;
    }
    if mode == Mode::Upto {
        return Some(served_and_told(row, told));
    }
    let is_first = row.calls == 1;
    let unknown = || {
        let told = Command::Answer(Answer::Pending);
        row.then(State::Unknown, &[Command::Reconcile, told])
    };
    Some(match told {
        Told::Settled => {
            let next = match mode {
                Mode::Before => Command::CallUpstream,
                Mode::After | Mode::Upto => Command::Deliver,
            };
            row.then(State::Settled, &[Command::Post, Command::Hold, next])
        }
        // Used before we ever asked: that money went to somebody else.
        Told::Refused | Told::NonceUsed if is_first => {
            let told = Command::Answer(Answer::SettlementFailed);
            row.then(State::Voided, &[told])
        }
        Told::Unsent if is_first => {
            let told = Command::Answer(Answer::Unavailable);
            row.then(State::Released, &[told])
        }
        Told::Pending if is_first => row.stays(&[Command::Settle]),
        Told::Refused | Told::NonceUsed | Told::Pending | Told::Unsent | Told::Unknown => unknown(),
    })
}

/// What a facilitator said of what was served already: nobody waits for an answer, and what could
/// not be told is told later.
fn served_and_told(row: Row, told: Told) -> Step {
    let is_first = row.calls == 1;
    match told {
        Told::Settled => came(row, Mode::Upto),
        // Served for nothing: that is lost.
        Told::Refused | Told::NonceUsed if is_first => row.then(State::Voided, &[]),
        Told::Pending if is_first => row.stays(&[Command::Settle]),
        Told::Refused | Told::NonceUsed | Told::Pending | Told::Unsent | Told::Unknown => {
            row.then(State::Unknown, &[Command::Reconcile])
        }
    }
}

fn lease_ended(row: &Row, mode: Mode) -> Step {
    let row = *row;
    match (row.state, mode) {
        // Served, and not settled for yet: that is to be done still.
        (State::Serving, _) => row.then(State::Unknown, &[Command::Reconcile]),
        (State::Pending, Mode::Before) | (State::Settling, _) => {
            row.then(State::Unknown, &[Command::Reconcile])
        }
        (State::Pending, Mode::After | Mode::Upto) => row.then(State::Released, &[]),
        (State::Settled, _) => row.then(State::Credit, &[]),
        (State::Redeeming, _) => row.then(State::Credit, &[Command::Release]),
        // Something may have gone out.
        (State::Delivering, _) => row.then(State::Spent, &[Command::Earn]),
        (State::Unknown | State::Credit | State::Spent | State::Voided | State::Released, _) => {
            row.stays(&[])
        }
    }
}

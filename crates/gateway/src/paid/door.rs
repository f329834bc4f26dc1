//! The way from a paid request to those who keep payments and settle them: the binary hands it in,
//! and it works on the control runtime. What it is told to do it does to the end, also if whoever
//! asked is gone.

use super::{Opened, Opening, PayerSeat, SessionEnd, SessionLeft, SessionUse, SessionWanted};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tollkeep_payments::price::Price;
use tollkeep_payments::state::{Answer, Mode};
use tollkeep_payments::x402::{Checked, Identifier, Offer, Proof, Receipt, Resource};
use tollkeep_types::{PaymentId, RequestId, TenantId};

/// A proof that passed the local checks, and what it is shown for.
#[derive(Debug)]
pub struct Shown {
    /// The request.
    pub request: RequestId,
    /// Whose route it is.
    pub tenant: TenantId,
    /// The route, as the settings name it.
    pub route: Arc<str>,
    /// When money is taken on it.
    pub mode: Mode,
    /// What was signed.
    pub proof: Checked,
    /// The proof as it came, decoded: a facilitator is told these bytes.
    pub payload: Arc<[u8]>,
    /// The offer that it takes.
    pub offer: Offer,
    /// What is paid for.
    pub resource: Resource,
    /// What the request costs today.
    pub price: Price,
    /// Of what the price was made from: SHA-256 of method, path, query and, where prices read it or
    /// the route binds it, the body.
    pub digest: [u8; 32],
    /// Who shows it.
    pub client_ip: IpAddr,
    /// Whether the facilitator is asked before money is taken.
    pub verify: bool,
    /// For how long it is remembered that it said yes to this very proof.
    pub verified_for: Option<Duration>,
    /// The session that it becomes, where it buys more than one call.
    pub opens: Option<Opening>,
    /// What the payer calls it, if it says so.
    pub named: Option<Named>,
    /// Who settles, best first; empty: whoever does so on the network.
    pub by: Arc<[Box<str>]>,
    /// Whether its time or its price is over: only what was bought with it before may be had for it.
    pub is_past: bool,
}

/// What a payer calls what it buys.
#[derive(Clone, Debug)]
pub struct Named {
    /// The name.
    pub identifier: Identifier,
    /// SHA-256 of the proof as it came, decoded.
    pub payload_hash: [u8; 32],
}

/// A proof that names what it bought, which may have been answered.
#[derive(Clone, Debug)]
pub struct Recalling {
    /// Whose route it is.
    pub tenant: TenantId,
    /// The route it is shown on.
    pub route: Arc<str>,
    /// SHA-256 of the proof as it came, decoded.
    pub payload_hash: [u8; 32],
    /// Of the request.
    pub digest: [u8; 32],
}

/// What is known of such a proof.
#[derive(Clone, Debug)]
pub enum Recalled {
    /// Nothing: it is judged as ever.
    Nothing,
    /// It is not answered now, or not here.
    No(NotPaid),
    /// It was answered so.
    Answer(Box<Remembered>),
}

/// An answer that was paid for before.
#[derive(Clone, Debug)]
pub struct Remembered {
    /// Its status.
    pub status: u16,
    /// What is told of the settlement.
    pub receipt: Option<Receipt>,
    /// The media type of its body; empty if it had none.
    pub kind: Box<str>,
    /// Its body, where that was kept.
    pub body: Option<Box<[u8]>>,
}

/// An answer as it went out, for whoever asks for it once more.
#[derive(Clone, Debug)]
pub struct AnswerCopy {
    /// Its status.
    pub status: u16,
    /// The media type of its body; empty if it had none.
    pub kind: Box<str>,
    /// Its body; `None` if it was long, streamed, or not brought to its end.
    pub body: Option<Box<[u8]>>,
}

/// How a delivery came to its end.
#[derive(Debug)]
pub struct Ending {
    /// What the caller had.
    pub delivery: Delivery,
    /// Where it is settled for only now, counts it as owed until then.
    pub seat: Option<PayerSeat>,
    /// What went out, where its payer named it.
    pub answer: Option<AnswerCopy>,
    /// In mode `Upto`: what it came to, in the token's smallest unit; `None` is what was said last.
    pub due: Option<u64>,
}

/// A payment that a request may be served for.
#[derive(Clone, Debug)]
pub struct Paid {
    /// The payment.
    pub payment: PaymentId,
    /// What is told of its settlement; `None` before that.
    pub receipt: Option<Receipt>,
    /// It was paid before, for something that was not delivered.
    pub is_credit: bool,
    /// What the request has of the session that was paid for.
    pub session: Option<SessionUse>,
}

/// Why a request is not served for a proof.
#[derive(Clone, Debug)]
pub struct NotPaid {
    /// What the caller is told.
    pub answer: Answer,
    /// What the facilitator said.
    pub reason: Option<Box<str>>,
    /// The payment, if one is kept.
    pub payment: Option<PaymentId>,
    /// What is told of its settlement, if money moved.
    pub receipt: Option<Receipt>,
    /// The session that it has become, if it has.
    pub opened: Option<Opened>,
    /// What is left of that, or of the one whose token was shown, where it is not enough.
    pub left: Option<Box<SessionLeft>>,
}

/// How a delivery ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Delivery {
    /// The caller had what it paid for, or is charged all the same.
    Ended,
    /// It broke off after its first byte; the route says whether that is made good for.
    Broke {
        /// It is, once.
        is_made_good: bool,
    },
    /// Nothing reached the caller.
    None,
}

/// What is told of a payment.
pub type Standing = Pin<Box<dyn Future<Output = Result<Option<Vec<u8>>, ()>> + Send>>;

/// What comes of a payment.
pub type Paying = Pin<Box<dyn Future<Output = Result<Paid, NotPaid>> + Send>>;

/// Keeps payments and has them settled. Where the future of an answer is dropped, nobody is served
/// for it, and nobody says how the delivery ended: what was settled by then is credit.
pub trait PaymentDoor: Send + Sync {
    /// Whether somebody would settle such an offer at the moment; others are not made. Completes
    /// it with what they ask for. Where there are names, only those are asked, in this order.
    fn readies(&self, offer: &mut Offer, by: &[Box<str>]) -> bool;
    /// A caller is asked to pay.
    fn asked(&self) {}
    /// Reserves the proof; in mode `Before` settles it too. Or finds the credit of it.
    fn show(&self, shown: Shown) -> Paying;
    /// The upstream has answered, in mode `After`: settles it.
    fn upstream_answered(&self, payment: PaymentId) -> Paying;
    /// The first byte is about to go to the caller: `false` if it must not, since somebody else
    /// delivers for this payment or it can't be kept.
    ///
    /// In mode `Upto`, `due` is what it comes to at least, in the token's smallest unit: settled where
    /// nobody says more. `None` is all of it.
    fn head_ready(
        &self,
        payment: PaymentId,
        due: Option<u64>,
    ) -> Pin<Box<dyn Future<Output = bool> + Send>>;
    /// In mode `Upto`: what it comes to by now.
    fn progressed(&self, payment: PaymentId, due: u64);
    /// The delivery is over. Whoever was served says it in any case, also when it was cut off.
    fn ended(&self, payment: PaymentId, ending: Ending);
    /// What became of a payment, as JSON, for whoever shows its proof; nothing for anybody else, or
    /// where there is none. `Err`: nobody can tell now.
    fn standing(&self, payment: PaymentId, proof: Proof) -> Standing;
    /// What was answered to this very proof before.
    fn recall(&self, recalling: Recalling) -> Pin<Box<dyn Future<Output = Recalled> + Send>>;
    /// Takes what a call needs of its session.
    fn use_session(&self, wanted: SessionWanted) -> Paying;
    /// The first byte is about to go to the caller: what the call took is earned, or counted from
    /// now on. `false` if it must not.
    fn session_head_ready(&self, used: SessionUse) -> Pin<Box<dyn Future<Output = bool> + Send>>;
    /// What a call that is counted comes to by now.
    fn session_progressed(&self, used: SessionUse, due: u64);
    /// Takes more for an answer of which so much is due; gives how much money.
    fn session_more(
        &self,
        used: SessionUse,
        due: u64,
        step_kib: u64,
    ) -> Pin<Box<dyn Future<Output = Option<u64>> + Send>>;
    /// The call is over. Whoever took something says it in any case; it is done also if nobody waits
    /// for whether it is kept by now.
    fn session_ended(
        &self,
        used: SessionUse,
        end: SessionEnd,
    ) -> Pin<Box<dyn Future<Output = bool> + Send>>;
}

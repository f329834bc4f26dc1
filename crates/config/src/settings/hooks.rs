//! What is asked at certain moments of a request, and who is told of what became of it.

use super::Egress;
use crate::check::Checks;
use crate::field::{KindExt, OnOrOff, section_or_off, steps};
use crate::kind::{choice, duration, list, networks_or_all_private, parsed, secret, text};
use crate::reader::keys;
use crate::tree::KeyPath;
use ipnet::IpNet;
use std::sync::Arc;
use std::time::Duration;
use tollkeep_policy::egress::{EgressUrl, Exceptions, Giver, Purpose, parse_url};
use tollkeep_policy::hook::{Moment, Program};
use tollkeep_types::Secret;

/// Steps of one hook at most, and receivers of webhooks.
const STEPS_MAX: usize = 16;
const WEBHOOKS_MAX: usize = 16;
/// Characters of a secret that signs.
const SECRET_CHARS_MIN: usize = 32;

/// What is asked at certain moments of a request; each list in its order.
#[derive(Clone, Debug, Default)]
pub struct Hooks {
    /// When it was read.
    pub request: Arc<[HookStep]>,
    /// When it is known what it costs.
    pub price: Arc<[HookStep]>,
    /// When its payment was settled: whoever is told so.
    pub settled: Arc<[Receiver]>,
    /// When the upstream has answered.
    pub response: Arc<[HookStep]>,
    /// When it failed for something that is not the caller's fault: whoever is told so.
    pub error: Arc<[Receiver]>,
}

impl Hooks {
    /// Whether nothing is asked, and nobody told.
    pub fn is_empty(&self) -> bool {
        let asked = [&self.request, &self.price, &self.response];
        asked.iter().all(|steps| steps.is_empty())
            && self.settled.is_empty()
            && self.error.is_empty()
    }

    /// The same, where an expression says what a request costs before others are asked.
    pub(super) fn after(self, computed: Option<&Program>) -> Self {
        let Some(program) = computed else {
            return self;
        };
        let first = std::iter::once(HookStep::Cel(program.clone()));
        let price = first.chain(self.price.iter().cloned()).collect();
        Self { price, ..self }
    }

    /// Whether a step asks about the body.
    pub fn reads_body(&self) -> bool {
        let asked = [&self.request, &self.price, &self.response];
        asked
            .into_iter()
            .flat_map(|steps| steps.iter())
            .any(|step| match step {
                HookStep::Cel(program) => program.reads_body(),
                HookStep::Http(_) => false,
            })
    }
}

/// A step of a hook.
#[derive(Clone, Debug)]
pub enum HookStep {
    /// An expression.
    Cel(Program),
    /// Somebody else is asked.
    Http(Arc<Callout>),
}

/// Somebody who is asked, while the request waits.
#[derive(Clone, Debug)]
pub struct Callout {
    /// Where.
    pub receiver: Receiver,
    /// How long that may take.
    pub timeout: Duration,
    /// Whether a request is refused that nobody can be asked about.
    pub denies: bool,
}

/// Somebody who is told something, signed.
#[derive(Clone, Debug)]
pub struct Receiver {
    /// Where.
    pub url: EgressUrl,
    /// Private networks it may be in.
    pub allow_private: Arc<[IpNet]>,
    /// What it is signed with.
    pub secret: Secret,
}

/// Whoever is told of events.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Where.
    pub receiver: Receiver,
    /// Of which.
    pub events: Vec<WebhookEvent>,
}

/// Something that happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum WebhookEvent {
    PaymentSettled,
    PaymentUnknown,
    PaymentResolved,
    PaymentCredit,
    SessionCreated,
    SessionExpired,
    BudgetThreshold,
}

impl WebhookEvent {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::PaymentSettled,
        Self::PaymentUnknown,
        Self::PaymentResolved,
        Self::PaymentCredit,
        Self::SessionCreated,
        Self::SessionExpired,
        Self::BudgetThreshold,
    ];

    /// The word in the file and in what is sent.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PaymentSettled => "payment.settled",
            Self::PaymentUnknown => "payment.unknown",
            Self::PaymentResolved => "payment.resolved",
            Self::PaymentCredit => "payment.credit",
            Self::SessionCreated => "session.created",
            Self::SessionExpired => "session.expired",
            Self::BudgetThreshold => "budget.threshold",
        }
    }
}

const EVENTS: [(&str, WebhookEvent); 7] = {
    let [a, b, c, d, e, f, g] = WebhookEvent::ALL;
    [
        (a.name(), a),
        (b.name(), b),
        (c.name(), c),
        (d.name(), d),
        (e.name(), e),
        (f.name(), f),
        (g.name(), g),
    ]
};

const ON_FAILURE: [(&str, bool); 2] = [("deny", true), ("allow", false)];

keys! {
    /// What is asked at certain moments of a request: lists of steps, each `{cel: "…"}` or `{http:
    /// {url, secret}}`. A list on a route replaces the one here. See docs/guide/hooks.md.
    pub(crate) struct HooksFile {
        /// When the request was read: it may be refused, and get `labels`.
        on_request: Vec<StepFile> = steps(),
        /// When it is known what it costs: it may be refused, or cost something else between
        /// `min_price` and `max_price`.
        on_price_resolved: Vec<StepFile> = steps(),
        /// When a payment was settled: who is told so.
        on_settled: Vec<StepFile> = steps(),
        /// When the upstream has answered: nothing may be settled, where that is still to be
        /// done, and the answer may get `x-` fields.
        on_response: Vec<StepFile> = steps(),
        /// When a request failed for something that is not the caller's fault: who is told so.
        on_error: Vec<StepFile> = steps(),
    }
}

keys! {
    /// A step of a hook.
    pub(crate) struct StepFile {
        /// An expression in CEL that says yes, no, or a map of what the hook may do. It has a
        /// bounded cost.
        cel: Option<String> = text().optional(),
        http: OnOrOff<CalloutFile> = section_or_off(),
    }
}

keys! {
    /// Somebody who is asked, with JSON that is signed as webhooks are.
    pub(crate) struct CalloutFile {
        receiver: ReceiverFile = crate::field::flat(),
        /// How long that may take.
        timeout: Duration = duration(1..=30_000).or(super::ms(2_000)),
        /// What becomes of a request while nobody answers: `deny` refuses it with 503, `allow`
        /// goes on.
        on_failure: bool = choice(&ON_FAILURE).or(true),
    }
}

keys! {
    /// Somebody who is told something.
    pub(crate) struct ReceiverFile {
        /// Where it is posted to. Redirects are not followed.
        url: Option<EgressUrl> = parsed("URL", called).required(),
        /// What it is signed with, 32 characters at least.
        secret: Option<Secret> = secret().required(),
        /// Private networks it may be in; other private addresses are refused.
        allow_private: Vec<IpNet> = networks_or_all_private().or_empty(),
    }
}

keys! {
    /// Somebody who is told of events: posted as JSON and signed, again and again for a day until
    /// it is taken. See docs/guide/hooks.md.
    pub(crate) struct WebhookFile {
        receiver: ReceiverFile = crate::field::flat(),
        /// Of which. Empty: of all.
        events: Vec<WebhookEvent> = list(choice(&EVENTS)).or_empty(),
        /// How it is signed and named: as bolthub's receivers expect it.
        _style as "style": () = choice(&[("bolthub", ())]).or(()),
    }
}

fn called(text: &str) -> Result<EgressUrl, String> {
    parse_url(text, Purpose::Webhook, Giver::Operator).map_err(|refusal| refusal.to_string())
}

/// The webhooks that passed.
pub(super) fn webhooks(
    files: Vec<WebhookFile>,
    egress: &Egress,
    checks: &mut Checks<'_>,
) -> Vec<Webhook> {
    let place = KeyPath::of("webhooks");
    if files.len() > WEBHOOKS_MAX {
        checks.error_at(&place, format!("are more than {WEBHOOKS_MAX}"));
    }
    let mut webhooks = Vec::new();
    for (at, file) in files.into_iter().enumerate() {
        let receiver = file.receiver.check(&place.index(at), egress, checks);
        let events = match file.events.as_slice() {
            [] => WebhookEvent::ALL.to_vec(),
            events => events.to_vec(),
        };
        webhooks.extend(receiver.map(|receiver| Webhook { receiver, events }));
    }
    webhooks
}

impl HooksFile {
    /// Those of the settings.
    pub(super) fn of_all(self, egress: &Egress, checks: &mut Checks<'_>) -> Hooks {
        let place = KeyPath::of("hooks");
        self.check((&place, &Hooks::default()), egress, checks)
    }

    /// The hooks at this place, over those that hold where it says nothing.
    pub(super) fn check(
        self,
        (path, usual): (&KeyPath, &Hooks),
        egress: &Egress,
        checks: &mut Checks<'_>,
    ) -> Hooks {
        let mut asked = |moment: Moment, key: &str, files, usual: &Arc<[HookStep]>| {
            let path = path.name(key);
            if !checks.is_written_at(&path) {
                return Arc::clone(usual);
            }
            let steps: Vec<_> = each(files, &path, checks, |file, path, checks| {
                file.step(moment, path, egress, checks)
            });
            steps.into()
        };
        let request = asked(
            Moment::Request,
            "on_request",
            self.on_request,
            &usual.request,
        );
        let price = asked(
            Moment::Price,
            "on_price_resolved",
            self.on_price_resolved,
            &usual.price,
        );
        let response = asked(
            Moment::Response,
            "on_response",
            self.on_response,
            &usual.response,
        );
        let mut told = |key: &str, files, usual: &Arc<[Receiver]>| {
            let path = path.name(key);
            if !checks.is_written_at(&path) {
                return Arc::clone(usual);
            }
            let told: Vec<_> = each(files, &path, checks, |file, path, checks| {
                file.receiver(path, egress, checks)
            });
            told.into()
        };
        Hooks {
            request,
            price,
            response,
            settled: told("on_settled", self.on_settled, &usual.settled),
            error: told("on_error", self.on_error, &usual.error),
        }
    }
}

/// Those of the steps that passed.
fn each<T>(
    files: Vec<StepFile>,
    path: &KeyPath,
    checks: &mut Checks<'_>,
    mut read: impl FnMut(StepFile, &KeyPath, &mut Checks<'_>) -> Option<T>,
) -> Vec<T> {
    if files.len() > STEPS_MAX {
        checks.error_at(path, format!("has more than {STEPS_MAX} steps"));
    }
    let mut passed = Vec::new();
    for (at, file) in files.into_iter().enumerate() {
        passed.extend(read(file, &path.index(at), checks));
    }
    passed
}

impl StepFile {
    fn step(
        self,
        moment: Moment,
        path: &KeyPath,
        egress: &Egress,
        checks: &mut Checks<'_>,
    ) -> Option<HookStep> {
        match (self.cel, self.http) {
            (Some(text), OnOrOff::Absent) => match Program::new(moment, &text) {
                Ok(program) => Some(HookStep::Cel(program)),
                Err(fault) => {
                    checks.error_at(&path.name("cel"), fault.to_string());
                    None
                }
            },
            (None, OnOrOff::On(_)) if moment == Moment::Response => {
                let problem = "is not supported in `onResponse`: write `cel`";
                checks.error_at(&path.name("http"), problem);
                None
            }
            (None, OnOrOff::On(file)) => {
                let receiver = file.receiver.check(&path.name("http"), egress, checks)?;
                Some(HookStep::Http(Arc::new(Callout {
                    receiver,
                    timeout: file.timeout,
                    denies: file.on_failure,
                })))
            }
            (_, OnOrOff::Absent | OnOrOff::Off | OnOrOff::On(_)) => {
                checks.error_at(path, "wants either `cel` or `http`");
                None
            }
        }
    }

    fn receiver(
        self,
        path: &KeyPath,
        egress: &Egress,
        checks: &mut Checks<'_>,
    ) -> Option<Receiver> {
        let OnOrOff::On(file) = self.http else {
            checks.error_at(path, "wants `http`: this hook only tells somebody");
            return None;
        };
        if self.cel.is_some() {
            checks.error_at(
                &path.name("cel"),
                "is not supported here: this hook only tells somebody",
            );
        }
        for key in ["timeout", "on_failure"] {
            let at = path.name("http").name(key);
            if checks.is_written_at(&at) {
                let problem = "has no effect here: nothing waits for who is told, and it is told \
                               again for a day";
                checks.error_at(&at, problem);
            }
        }
        file.receiver.check(&path.name("http"), egress, checks)
    }
}

impl ReceiverFile {
    fn check(self, path: &KeyPath, egress: &Egress, checks: &mut Checks<'_>) -> Option<Receiver> {
        let (url, secret) = (self.url?, self.secret?);
        let exceptions = Exceptions {
            allow_private: self.allow_private.clone(),
            allow_metadata: false,
        };
        if let Err(problem) = egress.admit(&url, &exceptions) {
            checks.error_at(&path.name("url"), problem);
        }
        if super::egress::is_clear_text(&url) && self.allow_private.is_empty() {
            let problem = "is `http` outside of `allow_private`: anybody on the way could read it";
            checks.error_at(&path.name("url"), problem);
        }
        if secret.expose().chars().count() < SECRET_CHARS_MIN {
            let problem = format!("has fewer than {SECRET_CHARS_MIN} characters");
            checks.error_at(&path.name("secret"), problem);
        }
        Some(Receiver {
            url,
            allow_private: self.allow_private.into(),
            secret,
        })
    }
}

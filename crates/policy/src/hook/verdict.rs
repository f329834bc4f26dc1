//! What a step of a hook says.

use super::{Moment, StepFailed};
use crate::cel::Given;
use crate::headers;
use tollkeep_types::money::NanoUsd;

/// Labels that one step may set, and answer fields that it may add.
const LABELS_MAX: usize = 8;
const FIELDS_MAX: usize = 16;
/// Letters of a label's name, and of its value.
const LABEL_NAME_MAX: usize = 32;
const LABEL_MAX: usize = 64;
/// Bytes of an answer field's value, letters of a code and of a message.
const FIELD_MAX: usize = 1_024;
const CODE_MAX: usize = 64;
const MESSAGE_MAX: usize = 256;

/// Answer fields that are ours alone, by how they begin.
const OURS: [&str; 8] = [
    "x-tollkeep-",
    "x-tollbooth-",
    "x-bolthub-",
    "x-payment",
    "x-session-",
    "x-ratelimit-",
    "x-request-id",
    "x-correlation-id",
];

/// What a step says; nothing else than asked for is a yes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Verdict {
    /// The request is refused.
    pub deny: Option<Deny>,
    /// What the record of the request says besides.
    pub labels: Vec<(Box<str>, Box<str>)>,
    /// It costs this instead.
    pub price: Option<HookPrice>,
    /// Nothing is settled, where that is still to be done.
    pub keeps_money: bool,
    /// Fields of the answer besides.
    pub fields: Vec<(Box<str>, Box<str>)>,
}

/// How a request is refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Deny {
    /// From 400 to 499.
    pub status: u16,
    /// In lower case.
    pub code: Box<str>,
    /// For whoever called.
    pub message: Box<str>,
}

/// A price that was worked out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HookPrice {
    /// Dollars.
    Usd(NanoUsd),
    /// Thousandths of a satoshi.
    Msat(u64),
}

impl Default for Deny {
    fn default() -> Self {
        Self {
            status: 403,
            code: "hook_denied".into(),
            message: "Not allowed.".into(),
        }
    }
}

type Members<'g> = &'g [(Box<str>, Given)];

impl Verdict {
    /// What was given, at this moment.
    pub(super) fn read(moment: Moment, given: &Given) -> Result<Self, StepFailed> {
        match given {
            Given::Bool(true) => Ok(Self::default()),
            Given::Bool(false) if moment == Moment::Response => Ok(Self {
                keeps_money: true,
                ..Self::default()
            }),
            Given::Bool(false) => Ok(Self::no()),
            Given::Map(members) => Self::of_map(moment, members),
            Given::Null
            | Given::Unclear
            | Given::Int(_)
            | Given::Double(_)
            | Given::Text(_)
            | Given::List(_)
            | Given::Fields(_) => Err(StepFailed::Meaning("it gives neither yes, no nor a map")),
        }
    }

    /// A plain no.
    pub fn no() -> Self {
        Self {
            deny: Some(Deny::default()),
            ..Self::default()
        }
    }

    fn of_map(moment: Moment, members: Members<'_>) -> Result<Self, StepFailed> {
        let mut verdict = Self::default();
        for (name, value) in members {
            match (&**name, moment) {
                ("deny", Moment::Request | Moment::Price) => verdict.deny = deny(value)?,
                ("labels", Moment::Request) => verdict.labels = labels(value)?,
                ("price", Moment::Price) => verdict.price = Some(HookPrice::read(value)?),
                ("settle", Moment::Response) => {
                    let Given::Bool(settles) = value else {
                        return Err(StepFailed::Meaning("`settle` is neither true nor false"));
                    };
                    verdict.keeps_money = !settles;
                }
                ("headers", Moment::Response) => verdict.fields = fields(value)?,
                _ => return Err(StepFailed::Meaning("it gives a member that is none here")),
            }
        }
        Ok(verdict)
    }
}

impl HookPrice {
    /// Nano-dollars, `{nanos: …}`, `{msat: …}`, or dollars as they are written.
    pub(super) fn read(given: &Given) -> Result<Self, StepFailed> {
        const NONE: StepFailed = StepFailed::Meaning("it gives no price");
        let nanos = |nanos: i64| {
            let usd = NanoUsd::new(nanos);
            (nanos >= 0).then_some(Self::Usd(usd)).ok_or(NONE)
        };
        match given {
            Given::Int(number) => nanos(*number),
            Given::Text(text) => text.parse().map(Self::Usd).map_err(|_| NONE),
            Given::Map(members) => match members.as_slice() {
                [(name, Given::Int(number))] if **name == *"nanos" => nanos(*number),
                [(name, Given::Int(number))] if **name == *"msat" => {
                    u64::try_from(*number).map(Self::Msat).map_err(|_| NONE)
                }
                _ => Err(NONE),
            },
            Given::Null
            | Given::Unclear
            | Given::Bool(_)
            | Given::Double(_)
            | Given::List(_)
            | Given::Fields(_) => Err(NONE),
        }
    }
}

fn deny(value: &Given) -> Result<Option<Deny>, StepFailed> {
    let mut deny = Deny::default();
    let members = match value {
        Given::Bool(is_so) => return Ok(is_so.then_some(deny)),
        Given::Null => return Ok(None),
        Given::Map(members) => members,
        Given::Unclear
        | Given::Int(_)
        | Given::Double(_)
        | Given::Text(_)
        | Given::List(_)
        | Given::Fields(_) => {
            return Err(StepFailed::Meaning("`deny` is no map"));
        }
    };
    for (name, value) in members {
        match (&**name, value) {
            ("status", Given::Int(status)) if (400..=499).contains(status) => {
                deny.status = u16::try_from(*status).unwrap_or(403);
            }
            ("code", Given::Text(code)) if is_code(code) => deny.code = code.clone(),
            ("message", Given::Text(message)) if is_line(message, MESSAGE_MAX) => {
                deny.message = message.clone();
            }
            _ => {
                return Err(StepFailed::Meaning(
                    "`deny` wants `status` from 400 to 499, `code` and `message`",
                ));
            }
        }
    }
    Ok(Some(deny))
}

fn is_code(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=CODE_MAX).contains(&text.len()) && text.bytes().all(fits)
}

fn is_line(text: &str, max: usize) -> bool {
    (1..=max).contains(&text.chars().count()) && !text.chars().any(char::is_control)
}

type Pairs = Vec<(Box<str>, Box<str>)>;

fn labels(value: &Given) -> Result<Pairs, StepFailed> {
    const WRONG: StepFailed = StepFailed::Meaning("`labels` are no map of short texts");
    let Given::Map(members) = value else {
        return Err(WRONG);
    };
    if members.len() > LABELS_MAX {
        return Err(WRONG);
    }
    let label = |(name, value): &(Box<str>, Given)| {
        let Given::Text(text) = value else {
            return Err(WRONG);
        };
        let fits = name.len() <= LABEL_NAME_MAX && is_code(name) && is_line(text, LABEL_MAX);
        fits.then(|| (name.clone(), text.clone())).ok_or(WRONG)
    };
    members.iter().map(label).collect()
}

fn fields(value: &Given) -> Result<Pairs, StepFailed> {
    const WRONG: StepFailed =
        StepFailed::Meaning("`headers` are no map of `x-` fields that are not ours");
    let Given::Map(members) = value else {
        return Err(WRONG);
    };
    if members.len() > FIELDS_MAX {
        return Err(WRONG);
    }
    let field = |(name, value): &(Box<str>, Given)| {
        let Given::Text(text) = value else {
            return Err(WRONG);
        };
        let visible = |byte: u8| (b' '..=b'~').contains(&byte);
        let fits = is_own_field(name) && text.len() <= FIELD_MAX && text.bytes().all(visible);
        let told = || (name.to_ascii_lowercase().into(), text.trim().into());
        fits.then(told).ok_or(WRONG)
    };
    members.iter().map(field).collect()
}

/// Whether a hook may add an answer field of this name.
fn is_own_field(name: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let name = name.to_ascii_lowercase();
    (3..=64).contains(&name.len())
        && name.starts_with("x-")
        && name.bytes().all(token)
        && !OURS.iter().any(|ours| name.starts_with(ours))
        && !headers::response_field_forbidden(name.as_bytes())
}

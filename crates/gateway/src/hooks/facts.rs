//! What hooks are asked about, and the same as JSON for those who are asked.

use crate::admit::Entry;
use crate::condition::HIDDEN;
use crate::lifecycle::Exchange;
use crate::refusal::Refusal;
use crate::route::{Destination, Route};
use tollkeep_http1::Known;
use tollkeep_observe::json;
use tollkeep_payments::price::Price;
use tollkeep_payments::x402::{Checked, Offer};
use tollkeep_payments::{Json, JsonFault, read_json};
use tollkeep_policy::cel::{Given, HookFacts};
use tollkeep_policy::form::{self, BodyKind};
use tollkeep_policy::hook::Moment;
use tollkeep_types::RequestId;

/// Labels of one request at most.
pub(super) const LABELS_MAX: usize = 16;
/// Depth of a body that hooks look at.
const BODY_DEPTH_MAX: usize = 64;
/// Bytes of what somebody is told at most (PAY-37).
const TOLD_BYTES_MAX: usize = 64 * 1024;
/// Fields of an answer that say who it is for.
const HIDDEN_OF_ANSWERS: [&str; 3] = ["set-cookie", "www-authenticate", "proxy-authenticate"];

type Variables = Vec<(&'static str, Given)>;
type Members = Vec<(Box<str>, Given)>;

impl<'p> Exchange<'p> {
    /// What is known of the request before it is paid for.
    ///
    /// # Errors
    /// 400 and 415 for a body that is looked at and that is no JSON, or can be read in two ways.
    pub(super) fn request_variables(
        &self,
        entry: &Entry<'_>,
        route: &Route<'p>,
        reads_body: bool,
    ) -> Result<Variables, Refusal> {
        let (head, bytes) = (&self.work.head, self.request_bytes());
        let params: Members = match route.destination() {
            Destination::Plain(plain) => {
                let params = plain.params(&self.work.path).into_iter();
                params
                    .map(|(name, text)| (name.into(), Given::text(text)))
                    .collect()
            }
            Destination::Surface(_) => Vec::new(),
        };
        let query = entry.query().and_then(|at| head.target.of(bytes).get(at));
        let fields = head.fields.iter().map(|field| {
            let name = field.name.of(bytes);
            (
                name,
                field.value.of(bytes),
                field.known == Known::Credential,
            )
        });
        let request = Given::map([
            ("method", Given::text(head.method.as_str())),
            ("path", Given::text(self.work.path.as_str())),
            ("params", Given::Map(params)),
            ("query", query_of(query.unwrap_or_default())),
            ("headers", fields_of(fields, &HIDDEN)),
        ]);
        let token = self.work.facts.token.as_ref();
        let tenant = token.map(|token| Given::text(token.project.tenant_id.to_string()));
        let client = Given::map([
            ("ip", Given::text(entry.client_ip().to_string())),
            ("tenant", tenant.unwrap_or(Given::Null)),
            (
                "token_id",
                token.map_or(Given::Null, |token| Given::text(token.id.to_string())),
            ),
        ]);
        let body = match reads_body {
            true => self.body_variable()?,
            false => Given::Null,
        };
        Ok(vec![
            ("request", request),
            ("client", client),
            ("body", body),
        ])
    }

    fn body_variable(&self) -> Result<Given, Refusal> {
        let body = if self.detached { self.body() } else { &[] };
        if body.is_empty() {
            return Ok(Given::Null);
        }
        let content_type = self
            .work
            .head
            .value(self.request_bytes(), Known::ContentType);
        if !matches!(content_type.and_then(BodyKind::of), Some(BodyKind::Json)) {
            return Err(Refusal::BadContentType);
        }
        let read = read_json(body, BODY_DEPTH_MAX).map_err(|fault| match fault {
            JsonFault::Twice => Refusal::DuplicateKey(String::new()),
            JsonFault::NotUtf8 | JsonFault::Broken | JsonFault::TooDeep | JsonFault::TooMany => {
                Refusal::InvalidJson("The request body is no JSON.".to_owned())
            }
        })?;
        Ok(given(read))
    }

    /// What is known of the answer.
    pub(super) fn push_answer(&self, facts: &mut HookFacts, payment: Option<Given>) {
        let (answer, bytes) = (&self.work.answer, &self.work.answer_bytes);
        let fields = answer
            .fields
            .iter()
            .map(|field| (field.name.of(bytes), field.value.of(bytes), false));
        let response = Given::map([
            ("status", Given::Int(answer.status.into())),
            ("headers", fields_of(fields, &HIDDEN_OF_ANSWERS)),
        ]);
        let has_price = facts.variables.iter().any(|(name, _)| *name == "price");
        if !has_price {
            let none = [("nanos", Given::Null), ("msat", Given::Null)];
            facts.variables.push(("price", Given::map(none)));
        }
        let payment = payment.unwrap_or_else(|| Given::Map(Vec::new()));
        facts.variables.push(("payment", payment));
        facts.variables.push(("response", response));
    }
}

/// A payment, as it is asked about.
pub(super) fn payment(checked: &Checked, offer: &Offer) -> Given {
    let key = checked.key.bytes().iter();
    let key: String = key.map(|byte| format!("{byte:02x}")).collect();
    Given::map([
        ("rail", Given::text("x402")),
        ("payer", Given::text(checked.payload.payer().to_string())),
        ("asset", Given::text(offer.asset.symbol.clone())),
        ("network", Given::text(offer.network().to_string())),
        ("amount", Given::text(offer.amount.to_string())),
        ("key", Given::text(key)),
    ])
}

/// A price, as it is asked about.
pub(super) fn price(price: &Price) -> Given {
    let nanos = price.usd().map(|usd| Given::Int(usd.get()));
    let msat = price.msat().and_then(|msat| i64::try_from(msat).ok());
    Given::map([
        ("nanos", nanos.unwrap_or(Given::Null)),
        ("msat", msat.map_or(Given::Null, Given::Int)),
    ])
}

/// The keys of a query. One that stands twice can't be asked about: nobody knows which counts.
fn query_of(query: &[u8]) -> Given {
    let Ok(pairs) = form::urlencoded(query) else {
        return Given::Unclear;
    };
    let mut keys: Members = Vec::new();
    for pair in pairs {
        let name = pair.name.as_str();
        match keys.iter_mut().find(|(known, _)| **known == *name) {
            Some((_, value)) => *value = Given::Unclear,
            None => {
                let value = pair.value.map_or(Given::Unclear, Given::text);
                keys.push((name.into(), value));
            }
        }
    }
    Given::Map(keys)
}

/// Header fields but those that hold credentials.
fn fields_of<'f>(
    fields: impl Iterator<Item = (&'f [u8], &'f [u8], bool)>,
    hidden: &[&str],
) -> Given {
    let mut known: Vec<(Box<str>, Option<Box<str>>)> = Vec::new();
    for (name, value, is_credential) in fields {
        let Ok(name) = std::str::from_utf8(name) else {
            continue;
        };
        let name = name.to_ascii_lowercase();
        if is_credential || hidden.contains(&name.as_str()) {
            continue;
        }
        let value = std::str::from_utf8(value).ok().map(Box::from);
        match known.iter_mut().find(|(own, _)| **own == *name) {
            Some((_, own)) => *own = None,
            None => known.push((name.into(), value)),
        }
    }
    Given::Fields(known)
}

fn given(value: Json) -> Given {
    match value {
        Json::Null => Given::Null,
        Json::Bool(is_so) => Given::Bool(is_so),
        Json::Number(text) => match (text.parse(), text.parse()) {
            (Ok(number), _) => Given::Int(number),
            (Err(_), Ok(number)) => Given::Double(number),
            (Err(_), Err(_)) => Given::Unclear,
        },
        Json::Text(text) => Given::text(text),
        Json::List(list) => Given::List(list.into_iter().map(given).collect()),
        Json::Map(members) => {
            let members = members.into_iter();
            Given::Map(
                members
                    .map(|(name, value)| (name.into(), given(value)))
                    .collect(),
            )
        }
    }
}

/// What somebody is told who is asked. `None`: it is more than may be told.
pub(super) fn written(moment: Moment, request: RequestId, facts: &HookFacts) -> Option<Vec<u8>> {
    let mut out = b"{\"hook\":".to_vec();
    json::string(&mut out, moment.key());
    out.extend_from_slice(b",\"request_id\":");
    json::string(&mut out, &request.to_string());
    for (name, value) in &facts.variables {
        out.push(b',');
        json::string(&mut out, name);
        out.push(b':');
        write(&mut out, value);
    }
    out.push(b'}');
    (out.len() <= TOLD_BYTES_MAX).then_some(out)
}

fn write(out: &mut Vec<u8>, value: &Given) {
    // It is not sent then.
    if out.len() > TOLD_BYTES_MAX {
        return;
    }
    match value {
        Given::Bool(is_so) => out.extend_from_slice(is_so.to_string().as_bytes()),
        Given::Int(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Given::Double(number) if number.is_finite() => {
            out.extend_from_slice(number.to_string().as_bytes());
        }
        Given::Null | Given::Unclear | Given::Double(_) => out.extend_from_slice(b"null"),
        Given::Text(text) => json::string(out, text),
        Given::List(list) => {
            out.push(b'[');
            for (at, value) in list.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write(out, value);
            }
            out.push(b']');
        }
        Given::Map(members) => object(
            out,
            members.iter().map(|(name, value)| (&**name, Some(value))),
        ),
        Given::Fields(fields) => {
            let told: Vec<_> = fields
                .iter()
                .map(|(name, value)| (&**name, value.clone().map(Given::Text)))
                .collect();
            object(
                out,
                told.iter().map(|(name, value)| (*name, value.as_ref())),
            );
        }
    }
}

fn object<'v>(out: &mut Vec<u8>, members: impl Iterator<Item = (&'v str, Option<&'v Given>)>) {
    out.push(b'{');
    for (at, (name, value)) in members.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        json::string(out, name);
        out.push(b':');
        write(out, value.unwrap_or(&Given::Null));
    }
    out.push(b'}');
}

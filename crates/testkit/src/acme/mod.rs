//! A certificate authority on loopback that speaks ACME (RFC 8555, 8737, 9773): it verifies every
//! signature, takes each nonce once, and really looks whether a name is its client's. It fails
//! where and how a test says.

mod issue;
mod jws;
mod look;
mod resources;

use crate::origin::{Gate, Origin, Step, Stream};
use crate::request::Request;
use issue::Root;
use jws::Key;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// How a request to the authority fails.
#[derive(Clone)]
pub enum AcmeFault {
    /// The nonce is refused.
    BadNonce,
    /// There were too many; come back in so many seconds.
    RateLimited(u64),
    /// It is answered as ever, and asks for time in these words.
    RetryAfter(&'static str),
    /// Status 500 with a page for people.
    ServerError,
    /// Status 200 with something that is no JSON.
    Malformed,
    /// The connection ends within the answer.
    Cut,
    /// The connection hangs.
    Hang,
    /// It takes until the gate opens.
    Slow(Gate),
    /// It redirects.
    Redirect,
    /// The certificate is for another key.
    OtherKey,
    /// The certificate is for another name.
    OtherName,
    /// The account is not known.
    NoAccount,
}

/// A running authority.
pub struct Authority {
    origin: Origin,
    shared: Arc<Shared>,
}

struct Shared {
    root: Root,
    url: OnceLock<String>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    nonces: HashSet<String>,
    made: u64,
    accounts: Vec<(Key, Value)>,
    orders: Vec<Order>,
    challenges: Vec<Asked>,
    issued: Vec<String>,
    /// Where names lead to: ports of TLS and of clear text.
    ports: (u16, u16),
    lifetime: Duration,
    /// The window that is suggested, as its two times.
    suggested: Option<(String, String)>,
    faults: Vec<(String, AcmeFault, usize)>,
    asked: BTreeMap<String, usize>,
    problems: Vec<String>,
}

struct Order {
    domains: Vec<String>,
    challenges: Vec<usize>,
    replaces: Option<String>,
    certificate: Option<usize>,
}

struct Asked {
    domain: String,
    token: String,
    /// What must be found.
    key_authorization: String,
    /// `pending`, `processing`, `valid` or `invalid`.
    status: &'static str,
    /// How the client wants to be asked.
    kind: Option<String>,
    error: Option<String>,
}

/// An answer before it is bytes.
struct Reply {
    status: u16,
    fields: String,
    body: String,
}

impl Reply {
    fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            fields: "content-type: application/json\r\n".to_owned(),
            body: body.to_string(),
        }
    }

    fn problem(status: u16, kind: &str, detail: &str) -> Self {
        let kind = format!("urn:ietf:params:acme:error:{kind}");
        Self {
            status,
            fields: "content-type: application/problem+json\r\n".to_owned(),
            body: json!({ "type": kind, "detail": detail, "status": status }).to_string(),
        }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        write!(self.fields, "{name}: {value}\r\n").expect("a text");
        self
    }

    fn bytes(&self, with_body: bool) -> Vec<u8> {
        let (status, fields) = (self.status, &self.fields);
        let body = if with_body { self.body.as_str() } else { "" };
        let head = format!(
            "HTTP/1.1 {status} Told\r\n{fields}content-length: {}\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body.as_bytes()].concat()
    }
}

impl Authority {
    /// One whose certificates live for so long.
    ///
    /// # Panics
    /// There is no randomness.
    pub fn start(lifetime: Duration) -> Self {
        let state = State {
            lifetime,
            ..State::default()
        };
        let shared = Arc::new(Shared {
            root: Root::new(),
            url: OnceLock::new(),
            state: Mutex::new(state),
        });
        let (own, config) = (Arc::clone(&shared), shared.root.server());
        let carrier = move |stream| -> Option<Box<dyn Stream>> {
            let session = rustls::ServerConnection::new(Arc::clone(&config)).ok()?;
            Some(Box::new(rustls::StreamOwned::new(session, stream)))
        };
        let origin = Origin::start_on(carrier, move |request| answer(&own, request));
        let url = format!("https://{}", origin.addr());
        shared.url.set(url).expect("once");
        Self { origin, shared }
    }

    /// Its directory.
    pub fn directory(&self) -> String {
        format!("https://{}/directory", self.origin.addr())
    }

    /// Writes the certificate that vouches for it, and for all that it issues.
    ///
    /// # Panics
    /// The file can't be written.
    pub fn write_root(&self, path: &Path) {
        std::fs::write(path, self.shared.root.pem()).expect("a file");
    }

    /// The certificate that vouches for all that it issues.
    pub fn root(&self) -> Vec<u8> {
        self.shared.root.der()
    }

    /// Where every name leads to: a port of TLS, and one of clear text.
    pub fn lead_to(&self, tls: u16, clear: u16) {
        self.state().ports = (tls, clear);
    }

    /// How long certificates live from now on.
    pub fn live_for(&self, lifetime: Duration) {
        self.state().lifetime = lifetime;
    }

    /// Suggests to renew between these times (RFC 3339).
    pub fn suggest(&self, from: &str, to: &str) {
        self.state().suggested = Some((from.to_owned(), to.to_owned()));
    }

    /// Fails the next requests for this resource.
    pub fn fail(&self, resource: &str, fault: AcmeFault, times: usize) {
        let fault = (resource.to_owned(), fault, times);
        self.state().faults.push(fault);
    }

    /// Fails no more.
    pub fn recover(&self) {
        self.state().faults.clear();
    }

    /// Forgets all accounts, as one that was set up anew.
    pub fn forget_accounts(&self) {
        self.state().accounts.clear();
    }

    /// How often a resource was asked for.
    pub fn asked(&self, resource: &str) -> usize {
        self.state().asked.get(resource).copied().unwrap_or(0)
    }

    /// Accounts made.
    pub fn accounts(&self) -> Vec<Value> {
        let state = self.state();
        state.accounts.iter().map(|(_, new)| new.clone()).collect()
    }

    /// The names of each order so far.
    pub fn orders(&self) -> Vec<Vec<String>> {
        let state = self.state();
        state
            .orders
            .iter()
            .map(|order| order.domains.clone())
            .collect()
    }

    /// Which certificate each order takes the place of.
    pub fn replaced(&self) -> Vec<Option<String>> {
        let state = self.state();
        state
            .orders
            .iter()
            .map(|order| order.replaces.clone())
            .collect()
    }

    /// How many certificates were issued.
    pub fn issued(&self) -> usize {
        self.state().issued.len()
    }

    /// Tokens of all challenges so far.
    pub fn tokens(&self) -> Vec<String> {
        let state = self.state();
        state
            .challenges
            .iter()
            .map(|one| one.token.clone())
            .collect()
    }

    /// What clients did that they must not.
    pub fn problems(&self) -> Vec<String> {
        self.state().problems.clone()
    }

    /// Waits until so many certificates were issued.
    pub fn wait_for_issued(&self, count: usize) {
        crate::eventually("certificates of the authority", || {
            (self.issued() >= count).then_some(())
        });
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url.get().expect("it was started"))
    }
}

impl State {
    fn name(&mut self, prefix: &str) -> String {
        self.made += 1;
        format!("{prefix}{}-{}", self.made, issue::random())
    }

    fn fault(&mut self, resource: &str) -> Option<AcmeFault> {
        *self.asked.entry(resource.to_owned()).or_default() += 1;
        let found = self
            .faults
            .iter_mut()
            .find(|(at, _, left)| at == resource && *left > 0)?;
        found.2 -= 1;
        Some(found.1.clone())
    }
}

fn answer(shared: &Arc<Shared>, request: &Request) -> Vec<Step> {
    let mut parts = request.target.trim_start_matches('/').splitn(3, '/');
    let resource = parts.next().unwrap_or_default();
    let (id, rest) = (
        parts.next().unwrap_or_default(),
        parts.next().unwrap_or_default(),
    );
    let resource = if rest.is_empty() { resource } else { rest };
    let fault = shared.state().fault(resource);
    let reply = match &fault {
        Some(AcmeFault::BadNonce) => Reply::problem(400, "badNonce", "used or unknown"),
        Some(AcmeFault::RateLimited(seconds)) => {
            let reply = Reply::problem(429, "rateLimited", "too many\nof them");
            reply.with("retry-after", &seconds.to_string())
        }
        Some(AcmeFault::NoAccount) => Reply::problem(400, "accountDoesNotExist", "who?"),
        Some(AcmeFault::ServerError) => Reply {
            status: 500,
            fields: "content-type: text/html\r\n".to_owned(),
            body: "<h1>Sorry</h1>".to_owned(),
        },
        Some(AcmeFault::Malformed) => Reply {
            status: 200,
            fields: "location: /x\r\ncontent-type: application/json\r\n".to_owned(),
            body: "{\"status\": \"valid\", \"finalize\": ".to_owned(),
        },
        Some(AcmeFault::Redirect) => Reply {
            status: 302,
            fields: "location: /directory\r\n".to_owned(),
            body: String::new(),
        },
        Some(AcmeFault::Hang) => return vec![Step::Hang],
        Some(AcmeFault::RetryAfter(words)) => {
            let at = (resource, id);
            resources::reply(shared, request, at, None).with("retry-after", words)
        }
        Some(AcmeFault::Cut | AcmeFault::Slow(_) | AcmeFault::OtherKey | AcmeFault::OtherName)
        | None => resources::reply(shared, request, (resource, id), fault.as_ref()),
    };
    let nonce = shared.state().name("nonce");
    let reply = reply.with("replay-nonce", &nonce);
    shared.state().nonces.insert(nonce);
    let bytes = reply.bytes(request.method != "HEAD");
    match fault {
        Some(AcmeFault::Cut) => vec![Step::Send(bytes[..bytes.len() - 5].to_vec()), Step::Close],
        Some(AcmeFault::Slow(gate)) => vec![Step::Wait(gate), Step::Send(bytes)],
        _ => vec![Step::Send(bytes)],
    }
}

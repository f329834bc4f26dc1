//! What anybody may read of what is sold (PAY-41, PAY-42, PAY-43): made with the plan, told from
//! memory.

use crate::admit::Entry;
use crate::answer::Framed;
use crate::form::{FormRules, unrouted};
use crate::lifecycle::{Exchange, Stop};
use crate::plan::Plan;
use crate::refusal::Refusal;
use std::sync::Arc;
use tollkeep_config::settings::{Access, Methods, Route, Sale, Settings, TokenCalls};
use tollkeep_http1::{Method, write};
use tollkeep_observe::RequestOutcome;
use tollkeep_payments::discovery::{Endpoint, documents};

/// The documents of one plan.
pub(crate) struct Discovery(Vec<Arc<Document>>);

/// One of them, ready to be sent.
pub(crate) struct Document {
    path: &'static str,
    /// What it is counted as.
    name: &'static str,
    kind: &'static [u8],
    etag: String,
    body: Box<[u8]>,
}

/// For how long others may keep one.
const CACHED: &[u8] = b"public, max-age=60";
/// Bytes of the digest in an `ETag`.
const ETAG_BYTES: usize = 16;

impl Discovery {
    /// What these settings sell; `None` if that is nothing, or nobody shall know.
    pub(crate) fn new(settings: &Settings) -> Option<Self> {
        let routes = &settings.routes;
        let is_sold =
            |route: &Route| matches!(route.access, Access::Payment | Access::TokenOrPayment);
        if !settings.server.discovery || !routes.iter().any(is_sold) {
            return None;
        }
        let shown = routes
            .iter()
            .filter(|route| route.discoverable && (is_sold(route) || route.access == Access::Free));
        let endpoints: Vec<Endpoint> = shown.map(|route| endpoint(route, settings)).collect();
        let base = settings.server.public_url.as_deref();
        let made = documents(&endpoints, base, settings.payments.credit);
        let json: &[u8] = b"application/json";
        let all = [
            (
                "/.well-known/x402",
                "GET /.well-known/x402",
                json,
                made.x402,
            ),
            (
                "/.well-known/openapi.json",
                "GET /.well-known/openapi.json",
                json,
                made.openapi,
            ),
            (
                "/llms.txt",
                "GET /llms.txt",
                b"text/plain; charset=utf-8",
                made.llms,
            ),
        ];
        // What the operator serves there itself comes first.
        let is_free = |path: &str| !routes.iter().any(|route| route.path.to_string() == path);
        let documents =
            all.into_iter()
                .filter(|(path, ..)| is_free(path))
                .map(|(path, name, kind, text)| {
                    Arc::new(Document {
                        path,
                        name,
                        kind,
                        etag: etag(&text),
                        body: text.into_bytes().into(),
                    })
                });
        Some(Self(documents.collect()))
    }
}

fn etag(text: &str) -> String {
    let digest = tollkeep_crypto::sha256(&[text.as_bytes()]);
    let mut tag = String::from('"');
    for byte in digest.iter().take(ETAG_BYTES) {
        tag.push_str(&format!("{byte:02x}"));
    }
    tag.push('"');
    tag
}

fn endpoint(route: &Route, settings: &Settings) -> Endpoint {
    let sale = route.sale.as_ref();
    let sale = sale.filter(|_| route.access != Access::Free);
    let network = |network| match settings.networks.short_name(network) {
        Some(name) => name.to_owned(),
        None => network.to_string(),
    };
    let accepts = sale.into_iter().flat_map(|sale| &sale.accepts);
    Endpoint {
        methods: match &route.methods {
            Methods::Any => Vec::new(),
            Methods::Listed(methods) => methods.iter().map(|method| method.as_str()).collect(),
        },
        path: route.path.to_string(),
        pricing: sale.map(|sale| sale.pricing.clone()),
        is_computed: !route.hooks.price.is_empty(),
        billing: sale.and_then(|sale| sale.billing.clone()),
        accepts: accepts
            .map(|accept| {
                (
                    accept.asset.symbol.to_string(),
                    network(&accept.asset.network),
                )
            })
            .collect(),
        streams: sale.is_some_and(streams),
        metadata: route.metadata.clone(),
    }
}

/// Whether what is sold are calls of models that may ask for streams.
fn streams(sale: &Sale) -> bool {
    match sale.tokens.map(|tokens| tokens.calls) {
        Some(
            TokenCalls::Chat
            | TokenCalls::Completions
            | TokenCalls::Responses
            | TokenCalls::Messages,
        ) => true,
        Some(TokenCalls::Embeddings) => false,
        None => sale.pricing.is_by_model(),
    }
}

impl Plan {
    /// HOT. The document of this path.
    pub(crate) fn discovered(&self, path: &str) -> Option<Arc<Document>> {
        let documents = &self.discovery.as_ref()?.0;
        let found = documents.iter().find(|document| document.path == path);
        found.map(Arc::clone)
    }
}

impl Document {
    fn is_had(&self, tags: &[u8]) -> bool {
        let had = |tag: &[u8]| {
            let tag = tag.trim_ascii();
            tag == b"*" || tag.strip_prefix(b"W/").unwrap_or(tag) == self.etag.as_bytes()
        };
        tags.split(|byte| *byte == b',').any(had)
    }
}

impl Exchange<'_> {
    /// Tells anybody what is sold; it counts as a request of the address.
    ///
    /// # Errors
    /// 405, what the form of the request deserves; the caller is gone.
    pub(crate) async fn tell_document(
        &mut self,
        entry: &Entry<'_>,
        document: Arc<Document>,
    ) -> Result<(), Stop> {
        self.debit_address(entry);
        if !matches!(self.work.head.method, Method::Get | Method::Head) {
            let refusal = Refusal::MethodNotAllowed {
                allow: "GET, HEAD".into(),
                closes: false,
            };
            return Err(unrouted(entry, refusal).into());
        }
        self.work.facts.route = Some(self.worker.name(document.name));
        let rules = FormRules {
            body: false,
            encoded_slash: false,
            semicolon: false,
        };
        self.check_form(entry, &rules)?;
        let bytes = self.conn.unread();
        let is_had = self.work.head.fields.iter().any(|field| {
            let name = field.name.of(bytes);
            name.eq_ignore_ascii_case(b"if-none-match") && document.is_had(field.value.of(bytes))
        });
        self.begin_answer(if is_had { 304 } else { 200 });
        let out = &mut self.work.out;
        write::field(out, b"cache-control", CACHED);
        write::field(out, b"etag", document.etag.as_bytes());
        if is_had {
            self.end_head(Framed::None);
        } else {
            write::field(out, b"content-type", document.kind);
            let length = u64::try_from(document.body.len()).unwrap_or(u64::MAX);
            self.end_head(Framed::Length(length));
            if self.work.head.method != Method::Head {
                self.work.out.extend_from_slice(&document.body);
                self.work.facts.bytes_out = length;
            }
        }
        self.flush().await?;
        self.work.facts.outcome = RequestOutcome::Served;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // PAY-41
    #[test]
    fn a_tag_is_known_in_any_list_and_form() {
        let document = Document {
            path: "/llms.txt",
            name: "GET /llms.txt",
            kind: b"text/plain",
            etag: etag("text"),
            body: Box::default(),
        };
        let tag = document.etag.as_str();
        assert_eq!(tag.len(), 34);
        for (tags, is_had) in [
            (tag.to_owned(), true),
            (format!("\"a\", W/{tag}"), true),
            ("*".to_owned(), true),
            ("\"a\"".to_owned(), false),
            (tag.trim_matches('"').to_owned(), false),
            (String::new(), false),
        ] {
            assert_eq!(document.is_had(tags.as_bytes()), is_had, "{tags}");
        }
    }
}

//! The head of a request to an upstream, written new: nothing of the caller's head is copied that
//! the mode of the upstream does not let through.

use crate::credentials::Credential;
use crate::lifecycle::Exchange;
use crate::plan::{ProviderPlan, Target, TargetKind};
use crate::read_call::LlmCall;
use crate::refusal::Refusal;
use crate::route::PlainRoute;
use tollkeep_http1::{Known, Method, write};
use tollkeep_llm::Dialect;
use tollkeep_policy::headers;
use tollkeep_policy::permission::glob;

/// A body up to this size goes out with its head in one piece.
pub(crate) const JOINED_BODY_BYTES: usize = 32 * 1024;

/// Fields that tell a digest of the body as it was sent.
const DIGESTS: [&[u8]; 4] = [b"content-digest", b"repr-digest", b"digest", b"content-md5"];

impl Exchange<'_> {
    /// The fields that go to an upstream of a plain route: all but those that never do.
    ///
    /// # Errors
    /// Its path there can't be made; the route has looked at that.
    pub(crate) fn write_plain_head(&mut self, route: &PlainRoute) -> Result<(), Refusal> {
        let (target, body_len) = (&route.target, self.body().len());
        let mut out = std::mem::take(&mut self.work.out);
        out.clear();
        let (head, bytes) = (&self.work.head, &self.work.request);
        out.extend_from_slice(head.method.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(target.endpoint.url.path().as_bytes());
        let raw_target = head.target.of(bytes);
        if route.rewrites() {
            let there = route.upstream_target(&self.work.path, raw_target)?;
            out.extend_from_slice(there.as_bytes());
        } else {
            out.extend_from_slice(self.work.path.as_bytes());
            if let Some(at) = memchr::memchr(b'?', raw_target) {
                out.extend_from_slice(raw_target.get(at..).unwrap_or_default());
            }
        }
        out.extend_from_slice(b" HTTP/1.1\r\n");
        write::field(
            &mut out,
            b"host",
            target.endpoint.url.authority().as_bytes(),
        );
        let only = match &target.kind {
            TargetKind::Plain { only, .. } => only.as_deref(),
            TargetKind::Provider(_) => None,
        };
        self.write_callers_fields(&mut out, target, only);
        if let Some(accepted) = head.value(bytes, Known::AcceptEncoding)
            && !target.settles(b"accept-encoding")
            && !self.is_metered()
        {
            write_accept_encoding(&mut out, accepted);
        }
        if !target.settles(b"x-request-id") {
            out.extend_from_slice(b"x-request-id: req_");
            out.extend_from_slice(&self.work.facts.id.hex());
            out.extend_from_slice(b"\r\n");
        }
        if let TargetKind::Plain {
            forward_client_ip,
            forward_cookies,
            ..
        } = &target.kind
        {
            if !forward_cookies.is_empty() && !target.settles(b"cookie") {
                self.write_cookies(&mut out, forward_cookies);
            }
            if *forward_client_ip {
                self.write_client(&mut out, target);
            }
        }
        self.end_upstream_head(&mut out, target, body_len);
        self.work.out = out;
        Ok(())
    }

    /// The caller's fields that go to a plain upstream: all but those that never do, or of them
    /// `only` these.
    fn write_callers_fields(&self, out: &mut Vec<u8>, target: &Target, only: Option<&[Box<[u8]>]>) {
        let (head, bytes) = (&self.work.head, &self.work.request);
        let decoded = head.has(Known::ContentEncoding);
        let hidden = self.plan.front_door.as_ref();
        for field in head.fields.iter().filter(|field| !field.hop) {
            let (name, value) = (field.name.of(bytes), field.value.of(bytes));
            let ours = matches!(
                field.known,
                Known::Host
                    | Known::ContentLength
                    | Known::ContentEncoding
                    | Known::AcceptEncoding
                    | Known::XRequestId
            );
            // Of what was decoded they are not true any more.
            let digest = decoded && DIGESTS.iter().any(|own| name.eq_ignore_ascii_case(own));
            if ours
                || digest
                || headers::request_field_forbidden(name)
                || only.is_some_and(|only| !is_among(only, name))
                || target.settles(name)
                || hidden.is_some_and(|door| door.hides(name))
            {
                continue;
            }
            write::field(out, name, value);
        }
        // What calls is we, unless the caller's word for it is let through.
        if let Some(only) = only
            && !target.settles(b"user-agent")
            && !(is_among(only, b"user-agent") && head.has(Known::UserAgent))
        {
            write::field(out, b"user-agent", b"tollkeep");
        }
    }

    /// The cookies that the settings name, of those that the caller sent.
    #[cold]
    fn write_cookies(&self, out: &mut Vec<u8>, names: &[Box<str>]) {
        let (head, bytes) = (&self.work.head, &self.work.request);
        let hidden = self.plan.front_door.as_ref();
        if hidden.is_some_and(|door| door.hides(b"cookie")) {
            return;
        }
        let sent = head.fields.iter();
        let sent = sent.filter(|field| field.known == Known::Cookie && !field.hop);
        let kept = headers::kept_cookies(sent.map(|field| field.value.of(bytes)), names);
        if !kept.is_empty() {
            write::field(out, b"cookie", &kept);
        }
    }

    /// Who called, and how, told afresh.
    fn write_client(&self, out: &mut Vec<u8>, target: &Target) {
        let ip = self.work.facts.client_ip.to_string();
        let scheme: &[u8] = if self.secure { b"https" } else { b"http" };
        for (name, value) in [
            (&b"x-forwarded-for"[..], ip.as_bytes()),
            (b"x-real-ip", ip.as_bytes()),
            (b"x-forwarded-proto", scheme),
        ] {
            if !target.settles(name) {
                write::field(out, name, value);
            }
        }
    }

    /// The fields that go to a provider: few, and none of the caller's unless it is listed.
    ///
    /// # Errors
    /// 404 for a model whose name can't stand in the path there.
    pub(crate) fn write_provider_head(
        &mut self,
        call: &LlmCall,
        target: &Target,
        (provider, model): (&ProviderPlan, &str),
        credential: &Credential,
    ) -> Result<(), Refusal> {
        let begin = provider.head(call.surface).ok_or(Refusal::Internal)?;
        let body_len = self.body().len();
        let settles = |name: &[u8]| target.settles(name) || credential.settles(name);
        let mut out = std::mem::take(&mut self.work.out);
        out.clear();
        let (head, bytes) = (&self.work.head, &self.work.request);
        let begun = begin.write(&mut out, model);
        if !settles(b"accept") {
            out.extend_from_slice(if call.stream {
                b"accept: text/event-stream\r\n"
            } else {
                b"accept: application/json\r\n"
            });
        }
        let mut has_version = false;
        let hidden = self.plan.front_door.as_ref();
        for field in head.fields.iter().filter(|field| !field.hop) {
            let name = field.name.of(bytes);
            let listed = is_among(&provider.forward_headers, name);
            let wanted = headers::llm_request_field_allowed(name)
                || (listed && !headers::provider_field_forbidden(name));
            let coding = field.known == Known::ContentEncoding;
            if wanted && !coding && !settles(name) && !hidden.is_some_and(|door| door.hides(name)) {
                has_version |= name.eq_ignore_ascii_case(b"anthropic-version");
                match &provider.allowed_betas {
                    Some(allowed) if name.eq_ignore_ascii_case(b"anthropic-beta") => {
                        write_betas(&mut out, field.value.of(bytes), allowed);
                    }
                    Some(_) | None => write::field(&mut out, name, field.value.of(bytes)),
                }
            }
        }
        if call.surface.dialect() == Dialect::Anthropic
            && !has_version
            && !settles(b"anthropic-version")
        {
            out.extend_from_slice(b"anthropic-version: 2023-06-01\r\n");
        }
        let agent = head
            .value(bytes, Known::UserAgent)
            .filter(|_| self.plan.llm.forward_user_agent);
        if !settles(b"user-agent") {
            write::field(&mut out, b"user-agent", agent.unwrap_or(b"tollkeep"));
        }
        out.extend_from_slice(&credential.field);
        self.end_upstream_head(&mut out, target, body_len);
        self.work.out = out;
        begun.ok_or_else(|| Refusal::ModelNotFound(model.to_owned()))
    }

    /// Where requests are signed, the head stays open until [`Self::seal_head`].
    fn end_upstream_head(&self, out: &mut Vec<u8>, target: &Target, body_len: usize) {
        out.extend_from_slice(&target.set_fields);
        if target.is_private {
            write::field(out, b"tollkeep-hop", self.plan.instance.as_bytes());
        }
        if let Some(body) = &self.incoming {
            body.write_framing(out);
        } else if body_len > 0
            || matches!(
                self.work.head.method,
                Method::Post | Method::Put | Method::Patch
            )
        {
            out.extend_from_slice(b"content-length: ");
            write::number(out, u64::try_from(body_len).unwrap_or(0));
            out.extend_from_slice(b"\r\n");
        }
        if let Some(signer) = &target.signer {
            return signer.prepare(out, &self.work.facts);
        }
        write::end(out);
        if body_len <= JOINED_BODY_BYTES {
            out.extend_from_slice(self.body());
        }
    }
}

impl Target {
    /// Whether the settings set or remove this field.
    pub(crate) fn settles(&self, name: &[u8]) -> bool {
        let mut settled = self.settled.iter();
        settled.any(|own| headers::same_field(name, own))
    }
}

/// Of what a caller wants to try, what its provider may be asked for.
fn write_betas(out: &mut Vec<u8>, asked: &[u8], allowed: &[String]) {
    let kept = headers::allowed_values(asked, |value| allowed.iter().any(|own| glob(own, value)));
    if !kept.is_empty() {
        write::field(out, b"anthropic-beta", &kept);
    }
}

/// Whether a name, in any case, is one of these.
pub(crate) fn is_among(names: &[Box<[u8]>], name: &[u8]) -> bool {
    names.iter().any(|own| name.eq_ignore_ascii_case(own))
}

/// The codings we can pass through, of those the caller takes.
fn write_accept_encoding(out: &mut Vec<u8>, accepted: &[u8]) {
    let known: [&[u8]; 3] = [b"gzip", b"br", b"zstd"];
    let mut kept: Vec<u8> = Vec::new();
    for entry in accepted.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
        let coding = entry
            .split(|byte| *byte == b';')
            .next()
            .unwrap_or_default()
            .trim_ascii();
        if known.iter().any(|known| coding.eq_ignore_ascii_case(known)) {
            if !kept.is_empty() {
                kept.extend_from_slice(b", ");
            }
            kept.extend_from_slice(entry);
        }
    }
    write::field(
        out,
        b"accept-encoding",
        if kept.is_empty() { b"identity" } else { &kept },
    );
}

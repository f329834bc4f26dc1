//! A request as a stranger sends it: head, framing, body, path, and the message we would write of
//! it.

use crate::cuts::{growing, pieces};
use tollkeep_http1::{
    ChunkDecoder, ChunkEvent, Field, Framing, Head, HeadRefusal, Known, Limits, Progress, write,
};
use tollkeep_policy::client_ip::{ClientIpRules, ClientIpSource, fold, prefix_key};
use tollkeep_policy::headers;
use tollkeep_types::path::{PathRules, canonicalize, check_query, split_target};
use tollkeep_types::{Authority, AuthorityPattern};

/// Small limits, so that short inputs reach them.
const TIGHT: Limits = Limits {
    fields_max: 4,
    head_bytes_max: 160,
    line_bytes_max: 40,
    target_bytes_max: 16,
};

/// Room for a head written anew: one blank more in every line, and our own fields.
const WIDE: Limits = Limits {
    fields_max: 200,
    head_bytes_max: 128 * 1024,
    line_bytes_max: 16 * 1024,
    target_bytes_max: 16 * 1024,
};

/// The bytes are what arrives on a connection.
///
/// Laws: a head gets the same verdict however it arrives; its spans lie within it; what we would
/// send of it upstream is again one strict message with the same meaning.
pub fn admission(data: &[u8]) {
    for limits in [Limits::default(), TIGHT] {
        let whole = read_in(data, &limits, &[data.len()]);
        assert_eq!(
            whole,
            read_in(data, &limits, &growing(data)),
            "cut into pieces"
        );
    }
    let mut head = Head::new();
    if head.read(data, &Limits::default(), &listed()) != Ok(Progress::Done) {
        return;
    }
    assert!(head.len <= data.len());
    check_fields(&head.fields, data);
    check_authority(head.authority.of(data));
    check_client(&head, data);
    let rest = data.get(head.len..).unwrap_or_default();
    if let Some(body) = body(head.framing, rest) {
        check_forwarded(&head, data, &body);
    }
}

fn listed() -> [Box<str>; 1] {
    [Box::from("x_listed")]
}

/// How reading ends when the buffer grows to these lengths; the head itself as text.
fn read_in(data: &[u8], limits: &Limits, lengths: &[usize]) -> Option<Result<String, HeadRefusal>> {
    let mut head = Head::new();
    for len in lengths {
        match head.read(data.get(..*len).unwrap_or_default(), limits, &listed()) {
            Ok(Progress::More) => {}
            Ok(Progress::Done) => return Some(Ok(format!("{head:?}"))),
            Err(refusal) => {
                assert!(!refusal.reason().is_empty());
                return Some(Err(refusal));
            }
        }
    }
    None
}

fn check_fields(fields: &[Field], data: &[u8]) {
    for field in fields {
        let (name, value) = (field.name.of(data), field.value.of(data));
        assert_eq!(name.len(), field.name.len(), "a name outside the buffer");
        assert_eq!(value.len(), field.value.len(), "a value outside the buffer");
        assert!(!name.is_empty() && value == value.trim_ascii());
        assert!(!value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
        let lower = name.to_ascii_lowercase();
        assert_eq!(
            headers::request_field_forbidden(name),
            headers::request_field_forbidden(&lower)
        );
        assert_eq!(
            headers::response_field_forbidden(name),
            headers::response_field_forbidden(&lower)
        );
        assert!(
            !(headers::llm_request_field_allowed(name) && headers::request_field_forbidden(name))
        );
        let _acceptable = headers::request_id_acceptable(value);
    }
}

/// An admitted authority is one, and matches itself alone.
fn check_authority(raw: &[u8]) {
    let text = std::str::from_utf8(raw).unwrap_or_default();
    let authority: Result<Authority, _> = text.parse();
    let Ok(authority) = authority else {
        panic_on("an admitted authority is none", raw)
    };
    assert_eq!(authority.to_string().parse(), Ok(authority.clone()));
    if let Ok(pattern) = authority.to_string().parse::<AuthorityPattern>() {
        assert!(pattern.matches(raw));
    }
}

#[expect(clippy::panic, reason = "that is how a fuzz target tells")]
fn panic_on(law: &str, input: &[u8]) -> ! {
    panic!("{law}: {}", input.escape_ascii())
}

/// The client address is found, or the peer's is taken, whoever is trusted.
fn check_client(head: &Head, data: &[u8]) {
    let peer = std::net::IpAddr::from([10, 0, 0, 1]);
    let fields = || {
        head.fields
            .iter()
            .map(|field| (field.name.of(data), field.value.of(data)))
    };
    for source in [
        ClientIpSource::XForwardedFor,
        ClientIpSource::Forwarded,
        ClientIpSource::XRealIp,
    ] {
        for hops in [None, Some(1)] {
            let rules = ClientIpRules::new(&[ipnet_of(peer)], source.clone(), hops);
            let found = rules.resolve(peer, fields());
            assert_eq!(
                fold(found.ip),
                found.ip,
                "a client address in two spellings"
            );
            assert_eq!(prefix_key(prefix_key(found.ip)), prefix_key(found.ip));
            let _scheme = rules.forwarded_scheme(peer, fields());
        }
    }
    let strangers = ClientIpRules::new(&[], ClientIpSource::XForwardedFor, None);
    assert_eq!(
        strangers.resolve(peer, fields()).ip,
        peer,
        "a stranger was believed"
    );
}

fn ipnet_of(ip: std::net::IpAddr) -> ipnet::IpNet {
    ip.into()
}

/// The body at the start of `rest`, if it is whole.
fn body(framing: Framing, rest: &[u8]) -> Option<Vec<u8>> {
    match framing {
        Framing::None => Some(Vec::new()),
        Framing::Length(length) => Some(rest.get(..usize::try_from(length).ok()?)?.to_vec()),
        Framing::Chunked => {
            let whole = dechunk(&[rest]);
            assert_eq!(whole, dechunk(&pieces(rest)), "chunks cut into pieces");
            (whole.1 == "end").then_some(whole.0)
        }
    }
}

/// The payload of a chunked body in these parts, and how it ended.
pub(crate) fn dechunk(parts: &[&[u8]]) -> (Vec<u8>, &'static str) {
    let mut decoder = ChunkDecoder::new();
    let mut body = Vec::new();
    for part in parts {
        let mut rest = *part;
        loop {
            match decoder.next(rest) {
                Err(fault) => return (body, fault.reason()),
                Ok(ChunkEvent::End { used }) => {
                    assert!(used <= rest.len());
                    return (body, "end");
                }
                Ok(ChunkEvent::More { used }) => {
                    assert_eq!(used, rest.len());
                    break;
                }
                Ok(ChunkEvent::Data { skip, len }) => {
                    assert!(len > 0 && skip + len <= rest.len());
                    body.extend_from_slice(rest.get(skip..skip + len).unwrap_or_default());
                    rest = rest.get(skip + len..).unwrap_or_default();
                }
            }
        }
    }
    (body, "more")
}

/// What is sent upstream is again one message, read in one way, with nothing behind it.
fn check_forwarded(head: &Head, data: &[u8], body: &[u8]) {
    let (path, query) = split_target(head.target.of(data));
    let mut canonical = String::new();
    if canonicalize(path, PathRules::PERMISSIVE, &mut canonical).is_err() {
        return;
    }
    let mut target = canonical.into_bytes();
    if let Some(query) = query {
        if check_query(query).is_err() {
            return;
        }
        target.push(b'?');
        target.extend_from_slice(query);
    }
    let mut out = Vec::new();
    write::request_line(&mut out, head.method.as_str(), &target);
    write::field(&mut out, b"host", head.authority.of(data));
    let mut sent = 1;
    for field in head.fields.iter().filter(|field| !field.hop) {
        let name = field.name.of(data);
        let ours = matches!(field.known, Known::Host | Known::ContentLength);
        if !ours && !headers::request_field_forbidden(name) {
            write::field(&mut out, name, field.value.of(data));
            sent += 1;
        }
    }
    write::field(
        &mut out,
        b"content-length",
        body.len().to_string().as_bytes(),
    );
    write::end(&mut out);
    let head_len = out.len();
    out.extend_from_slice(body);
    let mut again = Head::new();
    assert_eq!(
        again.read(&out, &WIDE, &listed()),
        Ok(Progress::Done),
        "{}",
        out.escape_ascii()
    );
    assert_eq!((again.len, again.method), (head_len, head.method));
    assert_eq!(
        again.framing,
        Framing::Length(u64::try_from(body.len()).unwrap_or(u64::MAX))
    );
    assert_eq!(again.fields.len(), sent + 1);
    assert_eq!(again.target.of(&out), target);
}

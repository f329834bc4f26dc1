//! What the authority finds when it looks whether a name is ours: a certificate made for the
//! question (tls-alpn-01, RFC 8737), or a text at a path (http-01, RFC 8555, section 8.3).

use arc_swap::ArcSwap;
use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The application protocol that stands for the question; nothing is ever served over it.
pub(crate) const ACME_TLS: &[u8] = b"acme-tls/1";

/// Where the authority asks over HTTP, in front of the token.
const WELL_KNOWN: &[u8] = b"/.well-known/acme-challenge/";

/// How the authority is shown that a name is ours.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum ChallengeKind {
    /// Within a TLS handshake.
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
    /// By a request in clear text.
    #[serde(rename = "http-01")]
    Http01,
}

/// A question of the authority that is open, and its answer.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Challenge {
    /// How it asks.
    pub kind: ChallengeKind,
    /// The name that it asks about, lower case.
    pub domain: String,
    /// The token of the question.
    pub token: String,
    /// The answer: the token and the account's thumbprint.
    pub key_authorization: String,
}

/// The questions that are open now, for every listener. Looking costs a load and a branch while
/// there is none.
#[derive(Default)]
pub struct Challenges {
    any: AtomicBool,
    open: ArcSwap<Vec<Open>>,
}

struct Open {
    challenge: Challenge,
    /// What a handshake is answered with.
    config: Option<Arc<ServerConfig>>,
}

impl Challenges {
    /// Answers these questions from now on, and no others. Those that cannot be answered are
    /// left out: the authority says what it did not find.
    pub fn replace(&self, challenges: Vec<Challenge>) {
        let open = self.open.load();
        let same = open.len() == challenges.len()
            && open
                .iter()
                .zip(&challenges)
                .all(|(open, new)| open.challenge == *new);
        if same {
            return;
        }
        let made = challenges.into_iter().map(|challenge| {
            // What is open stays as it is: a second question may be on its way.
            let known = open.iter().find(|open| open.challenge == challenge);
            let config = match (challenge.kind, known) {
                (ChallengeKind::Http01, _) => None,
                (ChallengeKind::TlsAlpn01, Some(known)) => known.config.clone(),
                (ChallengeKind::TlsAlpn01, None) => proof(&challenge),
            };
            Open { challenge, config }
        });
        let made: Vec<Open> = made.collect();
        let any = !made.is_empty();
        self.open.store(Arc::new(made));
        self.any.store(any, Ordering::Release);
    }

    /// HOT. Whether a question is open.
    #[inline]
    pub fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// What a handshake about this name (lower case) is answered with.
    pub(crate) fn for_handshake(&self, name: &str) -> Option<Arc<ServerConfig>> {
        let open = self.open.load();
        let mut asked = open.iter().filter(|open| open.challenge.domain == name);
        asked.find_map(|open| open.config.clone())
    }

    /// What a request for this path of this host is answered with.
    pub fn for_request(&self, host: &[u8], path: &[u8]) -> Option<String> {
        let token = path.strip_prefix(WELL_KNOWN)?;
        let name = host.split(|byte| *byte == b':').next().unwrap_or_default();
        let open = self.open.load();
        let asked = open.iter().map(|open| &open.challenge).find(|challenge| {
            challenge.kind == ChallengeKind::Http01
                && challenge.token.as_bytes() == token
                && name.eq_ignore_ascii_case(challenge.domain.as_bytes())
        });
        asked.map(|challenge| challenge.key_authorization.clone())
    }
}

/// TLS with the one certificate that proves it (RFC 8737, section 3).
fn proof(challenge: &Challenge) -> Option<Arc<ServerConfig>> {
    let made = make_proof(challenge);
    if let Err(problem) = &made {
        tracing::error!("No proof can be made for {}: {problem}", challenge.domain);
    }
    made.ok()
}

fn make_proof(challenge: &Challenge) -> Result<Arc<ServerConfig>, Box<dyn std::error::Error>> {
    let mut params = CertificateParams::new(vec![challenge.domain.clone()])?;
    let shown = digest(&SHA256, challenge.key_authorization.as_bytes());
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(shown.as_ref())];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    // Not compared with its key: the extension that proves it is critical, and no verifier knows it.
    let certified = CertifiedKey::new(chain, any_supported_type(&key)?);
    let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = vec![ACME_TLS.to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn challenge(kind: ChallengeKind, domain: &str, token: &str) -> Challenge {
        Challenge {
            kind,
            domain: domain.to_owned(),
            token: token.to_owned(),
            key_authorization: format!("{token}.thumb"),
        }
    }

    // EDGE-14
    #[test]
    fn only_the_exact_question_is_answered() {
        let challenges = Challenges::default();
        let ask = |host: &str, path: &str| challenges.for_request(host.as_bytes(), path.as_bytes());
        let path = "/.well-known/acme-challenge/tok";
        assert!(!challenges.any() && ask("a.example", path).is_none());
        challenges.replace(vec![
            challenge(ChallengeKind::Http01, "a.example", "tok"),
            challenge(ChallengeKind::TlsAlpn01, "b.example", "other"),
        ]);
        assert!(challenges.any());
        for (host, path, found) in [
            ("a.example", path, true),
            ("A.Example:80", path, true),
            ("b.example", path, false),
            ("a.example", "/.well-known/acme-challenge/to", false),
            ("a.example", "/.well-known/acme-challenge/tok/", false),
            ("a.example", "/.well-known/acme-challenge/tok?x", false),
            ("a.example", "/.well-known/acme-challenge/%74ok", false),
            ("a.example", "/.well-known/acme-challenge/", false),
            ("b.example", "/.well-known/acme-challenge/other", false),
            ("", path, false),
        ] {
            assert_eq!(ask(host, path).is_some(), found, "{host} {path}");
        }
        let for_handshake = |name| challenges.for_handshake(name);
        assert!(for_handshake("b.example").is_some() && for_handshake("a.example").is_none());
        challenges.replace(Vec::new());
        assert!(!challenges.any() && ask("a.example", path).is_none());
        assert!(challenges.for_handshake("b.example").is_none());
    }

    // EDGE-14
    #[test]
    fn what_is_open_keeps_its_certificate_while_others_come() {
        let challenges = Challenges::default();
        let one = challenge(ChallengeKind::TlsAlpn01, "a.example", "one");
        let two = challenge(ChallengeKind::TlsAlpn01, "b.example", "two");
        challenges.replace(vec![one.clone()]);
        let first = challenges.for_handshake("a.example").unwrap();
        challenges.replace(vec![two, one]);
        let again = challenges.for_handshake("a.example").unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        assert_eq!(first.alpn_protocols, [ACME_TLS]);
    }
}

//! Upstreams behind TLS: how they prove who they are.

use crate::egress::{answers, ask, config, resolver, upstream};
use crate::fixture::{gateway, head};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, PublicKeyData,
};
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tollkeep_testkit::{Gateway, NameServer, Origin, Stream, ok};

static ROOTS: AtomicUsize = AtomicUsize::new(1);

/// A root of trust in a file, and what it signed.
pub(crate) struct Trust {
    root: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Trust {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Told apart by name too, as roots are.
        let number = ROOTS.fetch_add(1, Ordering::Relaxed);
        let name = format!("Test Root {number}");
        params.distinguished_name.push(DnType::CommonName, name);
        let root = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), root.pem()).unwrap();
        Self { root, folder }
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// Files of a certificate for `name` and of its key.
    pub(crate) fn pair(&self, name: &str) -> [PathBuf; 2] {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.root).unwrap();
        [
            ("cert.pem", certificate.pem()),
            ("key.pem", key.serialize_pem()),
        ]
        .map(|(file, text)| {
            let path = self.folder.path().join(file);
            std::fs::write(&path, text).unwrap();
            path
        })
    }

    /// The server's side of TLS, with a certificate for `name`.
    pub(crate) fn server(&self, name: &str) -> Server {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()])
            .unwrap()
            .signed_by(&key, &self.root)
            .unwrap();
        Server {
            chain: vec![CertificateDer::from(certificate.der().to_vec())],
            key,
            versions: rustls::ALL_VERSIONS.to_vec(),
            clients: None,
        }
    }

    /// An origin behind TLS with a certificate for `name`.
    pub(crate) fn origin(&self, name: &str) -> Origin {
        self.server(name).origin()
    }

    /// The certificate of the root itself.
    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        CertificateDer::from(self.root.der().to_vec())
    }

    /// A pin of the root's key.
    pub(crate) fn pin(&self) -> String {
        pin(self.root.key())
    }
}

/// The digest of a key, in hex.
fn pin(key: &KeyPair) -> String {
    let digest = tollkeep_crypto::sha256(&[&key.subject_public_key_info()]);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The server's side of TLS.
pub(crate) struct Server {
    chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
    versions: Vec<&'static rustls::SupportedProtocolVersion>,
    clients: Option<CertificateDer<'static>>,
}

impl Server {
    /// Speaks this version alone.
    pub(crate) fn only(mut self, version: &'static rustls::SupportedProtocolVersion) -> Self {
        self.versions = vec![version];
        self
    }

    /// Wants clients to show a certificate that this root signed.
    pub(crate) fn for_clients_of(mut self, root: CertificateDer<'static>) -> Self {
        self.clients = Some(root);
        self
    }

    /// Sends another certificate behind its own.
    pub(crate) fn sending(mut self, certificate: CertificateDer<'static>) -> Self {
        self.chain.push(certificate);
        self
    }

    /// The pin of its key, in hex.
    pub(crate) fn pin(&self) -> String {
        pin(&self.key)
    }

    /// Makes TLS of an accepted socket.
    pub(crate) fn carrier(
        self,
    ) -> impl Fn(TcpStream) -> Option<Box<dyn Stream>> + Send + Sync + 'static {
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&self.versions)
            .unwrap();
        let config = match self.clients {
            None => config.with_no_client_auth(),
            Some(root) => {
                let mut roots = rustls::RootCertStore::empty();
                roots.add(root).unwrap();
                let roots = Arc::new(roots);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                config.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let config = Arc::new(config.with_single_cert(self.chain, key).unwrap());
        move |stream| {
            let session = rustls::ServerConnection::new(Arc::clone(&config)).ok()?;
            Some(Box::new(rustls::StreamOwned::new(session, stream)))
        }
    }

    /// An origin that answers with the `Host` it was asked for.
    pub(crate) fn origin(self) -> Origin {
        Origin::start_on(self.carrier(), |request| {
            ok(request.field("host").unwrap().as_bytes())
        })
    }
}

fn over_tls(origin: &Origin, server: &NameServer, roots: Option<PathBuf>) -> Gateway {
    let url = format!("https://secure.test.example:{}", origin.addr().port());
    let started = gateway(format!(
        "{}{}",
        resolver(server),
        config(&[upstream("u", &url, ", allow_private: [\"127.0.0.1/32\"]")])
    ));
    match roots {
        Some(roots) => started
            .set("egress.ca_file", roots.display().to_string())
            .start(),
        None => started.start(),
    }
}

/// An origin that answers a handshake as servers without TLS do.
pub(crate) fn clear_text() -> Origin {
    let carrier = |mut stream: TcpStream| -> Option<Box<dyn Stream>> {
        let mut hello = [0; 1024];
        let _read = stream.read(&mut hello).ok()?;
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
            .ok()?;
        None
    };
    Origin::start_on(carrier, |_| ok(b"ok"))
}

// EDGE-98
#[test]
fn an_upstream_behind_tls_must_prove_its_name_to_a_known_root() {
    let (trust, stranger, server) = (Trust::new(), Trust::new(), NameServer::start(answers));
    let good = trust.origin("secure.test.example");
    let gateway = over_tls(&good, &server, Some(trust.file()));
    let mut client = gateway.connect();
    for _ in 0..3 {
        let answer = client.call(&head("GET /u", ""));
        assert_eq!(
            (answer.status, answer.text()),
            (200, format!("secure.test.example:{}", good.addr().port()))
        );
    }
    assert_eq!(good.connections(), 1, "the session is used again");

    for (name, origin, roots) in [
        (
            "a certificate for another name",
            trust.origin("other.test.example"),
            Some(trust.file()),
        ),
        (
            "a certificate for the address",
            trust.origin("127.0.0.1"),
            Some(trust.file()),
        ),
        (
            "another root",
            stranger.origin("secure.test.example"),
            Some(trust.file()),
        ),
        ("no such root", trust.origin("secure.test.example"), None),
        ("clear text", clear_text(), Some(trust.file())),
    ] {
        let answer = ask(&over_tls(&origin, &server, roots), "u");
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (502, "upstream_error"),
            "{name}"
        );
        assert_eq!(origin.count(), 0, "{name}: no byte of the request");
    }
}

// EDGE-98
#[test]
fn a_file_of_roots_that_is_none_is_a_start_error() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "nothing\n").unwrap();
    for path in [empty, folder.path().join("missing.pem")] {
        let refused = gateway("")
            .set("egress.ca_file", path.display().to_string())
            .try_start()
            .err()
            .expect("refused");
        assert_eq!(refused.code, Some(3), "{}", refused.stderr);
        assert!(refused.stderr.contains(".pem"), "{}", refused.stderr);
    }
}

//! Certificates made for a test, and callers that speak TLS.

use crate::mtls_fixture::Identity;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme,
    StreamOwned, SupportedCipherSuite, SupportedProtocolVersion,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use tollkeep_testkit::{Client, PATIENCE};

/// A folder of certificates and the root that signed them.
pub(crate) struct Certificates {
    pub(crate) root: CertifiedIssuer<'static, KeyPair>,
    pub(crate) folder: tempfile::TempDir,
}

/// The files of a certificate and its key.
pub(crate) struct Pair {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

impl Pair {
    /// The keys of the configuration that name it.
    pub(crate) fn yaml(&self) -> String {
        format!(
            "cert_file: \"{}\", key_file: \"{}\"",
            self.cert.display(),
            self.key.display()
        )
    }

    /// Its certificate, of those in the file the first.
    pub(crate) fn leaf(&self) -> CertificateDer<'static> {
        let text = fs::read(&self.cert).unwrap();
        CertificateDer::from_pem_slice(&text).unwrap()
    }

    /// A `server` section with it, and these keys more.
    pub(crate) fn server(&self, more: &str) -> String {
        format!(
            "server: {{ tls: {{ enabled: true, {}{more} }} }}\n",
            self.yaml()
        )
    }
}

/// The kind of a key.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Ecdsa,
    Rsa,
    Ed25519,
}

impl Kind {
    pub(crate) fn key(self) -> KeyPair {
        KeyPair::generate_for(match self {
            Self::Ecdsa => &rcgen::PKCS_ECDSA_P256_SHA256,
            Self::Rsa => &rcgen::PKCS_RSA_SHA256,
            Self::Ed25519 => &rcgen::PKCS_ED25519,
        })
        .unwrap()
    }
}

impl Certificates {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params
            .distinguished_name
            .push(DnType::CommonName, "Test Root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(params, Kind::Ecdsa.key()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        Self { root, folder }
    }

    /// A pair for these names.
    pub(crate) fn pair(&self, file: &str, kind: Kind, names: &[&str]) -> Pair {
        self.pair_with(file, kind, names, |_| {})
    }

    /// A pair for these names, changed before it is signed.
    pub(crate) fn pair_with(
        &self,
        file: &str,
        kind: Kind,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Pair {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, file);
        change(&mut params);
        let key = kind.key();
        let certificate = params.signed_by(&key, &self.root).unwrap();
        self.write(file, &certificate.pem(), &key.serialize_pem())
    }

    /// Writes a pair, the key for its owner alone.
    pub(crate) fn write(&self, file: &str, cert: &str, key: &str) -> Pair {
        let pair = Pair {
            cert: self.path(&format!("{file}.pem")),
            key: self.path(&format!("{file}.key")),
        };
        fs::write(&pair.cert, cert).unwrap();
        private(&pair.key, key);
        pair
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    /// A caller that trusts the root.
    pub(crate) fn caller(&self) -> Caller {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from(self.root.der().to_vec()))
            .unwrap();
        Caller::with(roots)
    }
}

/// Writes a file that only its owner can read.
pub(crate) fn private(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// Runs OpenSSL in a folder.
pub(crate) fn openssl(folder: &Path, arguments: &str) {
    let made = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(folder)
        .output()
        .expect("the tests need the command `openssl`");
    assert!(
        made.status.success(),
        "openssl {arguments}: {}",
        String::from_utf8_lossy(&made.stderr)
    );
}

/// How a caller speaks TLS.
pub(crate) struct Caller {
    pub(crate) config: ClientConfig,
    roots: RootCertStore,
}

/// Takes every certificate, for tests that look at it themselves.
#[derive(Debug)]
struct Trusting(CryptoProvider);

impl ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signed, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signed, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl Caller {
    /// A caller that trusts these roots and speaks everything.
    pub(crate) fn with(roots: RootCertStore) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        Self { config, roots }
    }

    /// One that takes every certificate.
    pub(crate) fn trusting_all(mut self) -> Self {
        let verifier = Arc::new(Trusting(rustls::crypto::aws_lc_rs::default_provider()));
        self.config.dangerous().set_certificate_verifier(verifier);
        self
    }

    /// One that speaks this version alone.
    pub(crate) fn only(self, version: &'static SupportedProtocolVersion) -> Self {
        let suites = rustls::crypto::aws_lc_rs::ALL_CIPHER_SUITES.to_vec();
        self.suited(suites, version)
    }

    /// One that offers these suites of this version alone.
    pub(crate) fn suited(
        self,
        cipher_suites: Vec<SupportedCipherSuite>,
        version: &'static SupportedProtocolVersion,
    ) -> Self {
        let provider = CryptoProvider {
            cipher_suites,
            ..rustls::crypto::aws_lc_rs::default_provider()
        };
        let config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        Self { config, ..self }
    }

    pub(crate) fn alpn(mut self, protocols: &[&str]) -> Self {
        let protocols = protocols.iter().map(|name| name.as_bytes().to_vec());
        self.config.alpn_protocols = protocols.collect();
        self
    }

    /// One that shows this certificate whenever it is asked for one.
    pub(crate) fn showing(mut self, identity: &Identity) -> Self {
        let key = PrivateKeyDer::from_pem_slice(identity.key_pem.as_bytes()).unwrap();
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).unwrap();
        let certified = CertifiedKey::new(identity.chain.clone(), key);
        self.config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(certified));
        self
    }

    /// Connects and shakes hands; the session, or why there is none.
    pub(crate) fn open(
        self,
        addr: SocketAddr,
        name: &str,
    ) -> Result<(TcpStream, ClientConnection), String> {
        shake(&Arc::new(self.config), addr, name)
    }

    /// Connects, shakes hands, and calls from there.
    pub(crate) fn connect(self, addr: SocketAddr, name: &str) -> Client {
        let (socket, session) = self.open(addr, name).unwrap();
        carried(socket, session)
    }
}

/// Connects and shakes hands.
pub(crate) fn shake(
    config: &Arc<ClientConfig>,
    addr: SocketAddr,
    name: &str,
) -> Result<(TcpStream, ClientConnection), String> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut session = ClientConnection::new(Arc::clone(config), name).unwrap();
    let mut socket = TcpStream::connect(addr).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.set_write_timeout(Some(PATIENCE)).unwrap();
    while session.is_handshaking() {
        session
            .complete_io(&mut socket)
            .map_err(|error| error.to_string())?;
    }
    Ok((socket, session))
}

/// A client over an open session.
pub(crate) fn carried(socket: TcpStream, session: ClientConnection) -> Client {
    let copy = socket.try_clone().unwrap();
    Client::carried(socket, StreamOwned::new(session, copy))
}

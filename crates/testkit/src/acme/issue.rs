//! The root of the authority, and what it signs.

use aws_lc_rs::rand;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, PublicKeyData, SignatureAlgorithm, date_time_ymd,
};
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The bytes of an uncompressed point of P-256, which end the key of a request.
const POINT_BYTES: usize = 65;

/// What vouches for the authority, and for all that it issues.
pub(super) struct Root {
    issuer: CertifiedIssuer<'static, KeyPair>,
    /// What stands for its key in what it issues.
    key: Vec<u8>,
}

impl Root {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        let name = &mut params.distinguished_name;
        name.push(DnType::CommonName, "Test Authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self {
            key: params.key_identifier(&key),
            issuer: CertifiedIssuer::self_signed(params, key).expect("a certificate"),
        }
    }

    pub(super) fn pem(&self) -> String {
        self.issuer.pem()
    }

    pub(super) fn der(&self) -> Vec<u8> {
        self.issuer.der().to_vec()
    }

    /// TLS of the authority itself, as 127.0.0.1.
    pub(super) fn server(&self) -> Arc<ServerConfig> {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let chain = vec![CertificateDer::from(certificate.der().to_vec())];
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key);
        Arc::new(config.expect("a pair"))
    }

    /// A certificate and its chain, in PEM.
    pub(super) fn issue(&self, request: &Request, names: &[String], life: Duration) -> String {
        let mut params = CertificateParams::new(names.to_vec()).expect("names");
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970");
        params.not_before = date_time_ymd(1970, 1, 1) + Duration::from_secs(now.as_secs());
        params.not_after = params.not_before + life;
        params.use_authority_key_identifier_extension = true;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params
            .signed_by(request, &self.issuer)
            .expect("a certificate");
        format!("{}{}", certificate.pem(), self.issuer.pem())
    }

    /// How renewal information names a certificate (RFC 9773, section 4.1).
    pub(super) fn identifier(&self, chain: &str) -> String {
        let body = chain.split("-----").nth(2).expect("PEM");
        let body: String = body.split_whitespace().collect();
        let der = BASE64_STANDARD.decode(body).expect("base64");
        let mut fields = Der(Der(Der(&der).take()).take());
        fields.take(); // version
        let serial = fields.take();
        format!(
            "{}.{}",
            BASE64_URL_SAFE_NO_PAD.encode(&self.key),
            BASE64_URL_SAFE_NO_PAD.encode(serial)
        )
    }
}

/// A request for a certificate, whose signature is right.
pub(super) struct Request {
    point: Vec<u8>,
}

impl Request {
    /// Reads one, which must be for these names and no others.
    pub(super) fn read(text: &str, names: &[String]) -> Result<Self, String> {
        let der = BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| "base64")?;
        let mut whole = Der(Der(&der).take());
        let signed = whole.whole();
        whole.take(); // algorithm
        let signature = whole.take();
        let mut info = Der(Der(signed).take());
        info.take(); // version
        if !info.take().is_empty() {
            return Err("it names a subject".to_owned());
        }
        let key = info.take();
        let point = key[key.len() - POINT_BYTES..].to_vec();
        let verifier = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &point);
        verifier
            .verify(signed, &signature[1..])
            .map_err(|_| "the signature")?;
        let attributes = info.take();
        // A list of names as it stands in the one extension.
        let mut list = Vec::new();
        for name in names {
            list.extend([0x82, u8::try_from(name.len()).expect("a short name")]);
            list.extend(name.as_bytes());
        }
        if attributes
            .windows(list.len())
            .filter(|part| *part == list)
            .count()
            != 1
            || attributes.iter().filter(|byte| **byte == 0x82).count() != names.len()
        {
            return Err("other names".to_owned());
        }
        Ok(Self { point })
    }

    /// One of a key that nobody has.
    pub(super) fn other() -> Self {
        let key = KeyPair::generate().expect("a key");
        Self {
            point: key.der_bytes().to_vec(),
        }
    }
}

impl PublicKeyData for Request {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

/// A text that was never there before.
pub(super) fn random() -> String {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).expect("randomness");
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// A reader of DER that was made by a library.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// What is in the next element.
    fn take(&mut self) -> &'a [u8] {
        let (head, length) = self.measure();
        let (element, rest) = self.0.split_at(head + length);
        self.0 = rest;
        &element[head..]
    }

    /// The next element with its head.
    fn whole(&mut self) -> &'a [u8] {
        let (head, length) = self.measure();
        let (element, rest) = self.0.split_at(head + length);
        self.0 = rest;
        element
    }

    fn measure(&self) -> (usize, usize) {
        let first = usize::from(self.0[1]);
        if first < 0x80 {
            return (2, first);
        }
        let bytes = &self.0[2..2 + (first & 0x7f)];
        let length = bytes
            .iter()
            .fold(0, |length, byte| length << 8 | usize::from(*byte));
        (2 + bytes.len(), length)
    }
}

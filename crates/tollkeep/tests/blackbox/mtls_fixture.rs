//! Authorities of clients, the certificates they issue, and what comes of showing one.

use crate::fixture::{before, free, gateway, head};
use crate::tls_fixture::{Caller, Certificates, Kind, shake};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SerialNumber, date_time_ymd,
};
use rustls::{ClientConfig, StreamOwned};
use rustls_pki_types::CertificateDer;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tollkeep_testkit::{Builder, Origin};

/// Who issues certificates.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    serial: u64,
    /// What stands between it and its root.
    between: Vec<CertificateDer<'static>>,
}

/// A certificate of a client, and its key.
pub(crate) struct Identity {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) cert_pem: String,
    pub(crate) key_pem: String,
    serial: u64,
}

/// What a list names.
pub(crate) trait Revocable {
    fn serial(&self) -> u64;
}

impl Revocable for Identity {
    fn serial(&self) -> u64 {
        self.serial
    }
}

impl Revocable for Authority {
    fn serial(&self) -> u64 {
        self.serial
    }
}

fn next_serial() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(1_000);
    LAST.fetch_add(1, Ordering::Relaxed)
}

fn params(name: &str, serial: u64) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from(serial));
    params
}

fn authority_params(name: &str, serial: u64) -> CertificateParams {
    let mut params = params(name, serial);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

impl Authority {
    /// One that nobody is above.
    pub(crate) fn root(name: &str) -> Self {
        Self::root_with(name, |_| {})
    }

    /// One that is changed before it is signed.
    pub(crate) fn root_with(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let serial = next_serial();
        let mut params = authority_params(name, serial);
        change(&mut params);
        Self {
            issuer: CertifiedIssuer::self_signed(params, Kind::Ecdsa.key()).unwrap(),
            serial,
            between: Vec::new(),
        }
    }

    /// One below this one.
    pub(crate) fn below(&self, name: &str) -> Self {
        let serial = next_serial();
        let params = authority_params(name, serial);
        let issuer = CertifiedIssuer::signed_by(params, Kind::Ecdsa.key(), &self.issuer).unwrap();
        let own = CertificateDer::from(issuer.der().to_vec());
        let between = [own].into_iter().chain(self.between.iter().cloned());
        Self {
            between: between.collect(),
            issuer,
            serial,
        }
    }

    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for a client.
    pub(crate) fn client(&self, name: &str) -> Identity {
        self.client_with(name, |_| {})
    }

    /// One that is changed before it is signed.
    pub(crate) fn client_with(
        &self,
        name: &str,
        change: impl FnOnce(&mut CertificateParams),
    ) -> Identity {
        let serial = next_serial();
        let mut params = params(name, serial);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = Kind::Ecdsa.key();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let leaf = CertificateDer::from(certificate.der().to_vec());
        let chain = [leaf].into_iter().chain(self.between.iter().cloned());
        Identity {
            chain: chain.collect(),
            cert_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            serial,
        }
    }

    /// This authority's own certificate, shown by itself as if it were a client.
    pub(crate) fn as_client(&self) -> Identity {
        Identity {
            chain: vec![CertificateDer::from(self.issuer.der().to_vec())],
            cert_pem: self.pem(),
            key_pem: self.issuer.key().serialize_pem(),
            serial: self.serial,
        }
    }

    /// What it revoked.
    pub(crate) fn list(&self, revoked: &[&dyn Revocable]) -> String {
        self.list_with(revoked, |_| {})
    }

    /// A list that is changed before it is signed.
    pub(crate) fn list_with(
        &self,
        revoked: &[&dyn Revocable],
        change: impl FnOnce(&mut CertificateRevocationListParams),
    ) -> String {
        let revoked = revoked.iter().map(|one| RevokedCertParams {
            serial_number: SerialNumber::from(one.serial()),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let mut params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2090, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        change(&mut params);
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }
}

impl Identity {
    /// The same without what stands between it and its root.
    pub(crate) fn alone(&self) -> Self {
        Self {
            chain: self.chain.first().cloned().into_iter().collect(),
            cert_pem: self.cert_pem.clone(),
            key_pem: self.key_pem.clone(),
            serial: self.serial,
        }
    }

    /// Its fingerprint, as OpenSSL tells it: pairs of digits with colons.
    pub(crate) fn fingerprint(&self) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shown.pem");
        fs::write(&path, &self.cert_pem).unwrap();
        let told = std::process::Command::new("openssl")
            .args(["x509", "-noout", "-fingerprint", "-sha256", "-in"])
            .arg(&path)
            .output()
            .expect("the tests need the command `openssl`");
        let told = String::from_utf8(told.stdout).unwrap();
        told.trim().split_once('=').unwrap().1.to_owned()
    }

    /// The same, as records tell it.
    pub(crate) fn sha256(&self) -> String {
        self.fingerprint().replace(':', "").to_ascii_lowercase()
    }
}

/// The folder of a gateway's certificates, with the files it believes clients by.
pub(crate) struct Believed {
    pub(crate) certificates: Certificates,
    pub(crate) ca_file: PathBuf,
    pub(crate) crl_file: PathBuf,
}

impl Believed {
    /// Clients of these authorities.
    pub(crate) fn new(authorities: &[&Authority]) -> Self {
        let certificates = Certificates::new();
        let believed = Self {
            ca_file: certificates.path("clients.pem"),
            crl_file: certificates.path("revoked.pem"),
            certificates,
        };
        believed.believe(authorities);
        believed
    }

    /// Puts other authorities into the file, in one step.
    pub(crate) fn believe(&self, authorities: &[&Authority]) {
        let all: String = authorities
            .iter()
            .map(|authority| authority.pem())
            .collect();
        put(&self.ca_file, &all);
    }

    /// Puts other lists into the file, in one step.
    pub(crate) fn revoke(&self, lists: &[String]) {
        put(&self.crl_file, &lists.concat());
    }

    /// The `tls` section of a listener that asks for certificates.
    pub(crate) fn tls(&self, need: &str) -> String {
        let pair = self.certificates.path("server.pem");
        let pair = if pair.exists() {
            format!(
                "cert_file: \"{}\", key_file: \"{}\"",
                pair.display(),
                self.certificates.path("server.key").display()
            )
        } else {
            let names = ["localhost", "127.0.0.1", "a.test"];
            self.certificates.pair("server", Kind::Ecdsa, &names).yaml()
        };
        let mut tls = format!("enabled: true, {pair}, client_auth: {need}");
        if need != "\"off\"" {
            write!(tls, ", client_ca_file: \"{}\"", self.ca_file.display()).unwrap();
            if self.crl_file.exists() {
                write!(tls, ", client_crl_file: \"{}\"", self.crl_file.display()).unwrap();
            }
        }
        format!("tls: {{ {tls} }}")
    }

    /// A gateway that asks callers for certificates, with a free route `GET /x`.
    pub(crate) fn gateway(&self, origin: &Origin, need: &str, more: &str) -> Builder {
        gateway(self.config(origin, need, more))
    }

    pub(crate) fn config(&self, origin: &Origin, need: &str, more: &str) -> String {
        let server = format!("server: {{ {}{more} }}\n", self.tls(need));
        format!("{server}{}", before(origin, &free("GET /x")))
    }

    /// A caller, who shows this certificate if there is one.
    pub(crate) fn caller(&self, identity: Option<&Identity>) -> Caller {
        shown_by(self.certificates.caller(), identity)
    }
}

/// A caller who shows this certificate if there is one.
pub(crate) fn shown_by(caller: Caller, identity: Option<&Identity>) -> Caller {
    match identity {
        Some(identity) => caller.showing(identity),
        None => caller,
    }
}

fn put(path: &std::path::Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, path).unwrap();
}

/// All that comes back for these bytes until the connection ends: in TLS 1.3 a client learns only
/// then that its certificate is refused.
pub(crate) fn said(
    config: &Arc<ClientConfig>,
    addr: SocketAddr,
    bytes: &[u8],
) -> Result<String, String> {
    let (socket, session) = shake(config, addr, "a.test")?;
    let mut stream = StreamOwned::new(session, socket);
    // The refusal may be quicker than this.
    stream.write_all(bytes).ok();
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => Ok(String::from_utf8_lossy(&answer).into_owned()),
        Err(error) => {
            assert!(answer.is_empty(), "{error} behind {answer:?}");
            Err(error.to_string())
        }
    }
}

/// The status of `GET path`, or why there is none.
pub(crate) fn status(caller: Caller, addr: SocketAddr, path: &str) -> Result<u16, String> {
    status_of(&Arc::new(caller.config), addr, path, "")
}

/// The same with the same settings again, and with these lines more.
pub(crate) fn status_of(
    config: &Arc<ClientConfig>,
    addr: SocketAddr,
    path: &str,
    lines: &str,
) -> Result<u16, String> {
    let lines = format!("{lines}Connection: close\r\n");
    let answer = said(config, addr, &head(&format!("GET {path}"), &lines))?;
    let status = answer
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3));
    Ok(status
        .unwrap_or_else(|| panic!("{answer}"))
        .parse()
        .unwrap())
}

//! Certificates of clients: which authorities are believed, and what they revoked.
//!
//! rustls judges a certificate by what is made here. What it would take without a word is refused
//! before: an authority that is none, one that has expired, and lists that nobody signed.

use super::certificate::{Authority, KeyKind, NoAuthority, RevocationList, is_for_clients};
use super::fault::{Fault, RSA_BITS_MIN, Warning};
use super::pem_file::{FILE_BYTES_MAX, read, something_else, told};
use super::server::{Ends, Expiry};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tollkeep_types::WallMillis;
use tollkeep_types::tls::ClientCertNeed;

/// Bytes of a file of revocation lists at most.
const LISTS_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Whose certificates clients may show.
#[derive(Clone, Debug)]
pub struct ClientAuthFiles {
    /// Whether there may be clients without one.
    pub need: ClientCertNeed,
    /// The authorities.
    pub ca_file: PathBuf,
    /// What they revoked.
    pub crl_file: Option<PathBuf>,
}

/// What certificates of clients are judged by.
pub(super) struct ClientAuth {
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    /// The end that comes first, of each file.
    pub(super) expiries: Vec<Expiry>,
    pub(super) warnings: Vec<Warning>,
}

/// The authorities of a file.
struct Authorities {
    path: String,
    roots: RootCertStore,
    all: Vec<Authority>,
    /// Those that are believed no more; their lists may still stand beside others.
    expired: Vec<Authority>,
}

/// The revocation lists of a file.
struct Lists {
    der: Vec<CertificateRevocationListDer<'static>>,
    expiry: Option<Expiry>,
    warnings: Vec<Warning>,
}

impl ClientAuth {
    /// Reads and judges the files. Where a listener `serves` already, an authority that has expired
    /// is believed no more, instead of keeping out what else is new.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub(super) fn load(
        files: &ClientAuthFiles,
        now: WallMillis,
        serves: bool,
    ) -> Result<Self, Vec<Fault>> {
        let authorities = Authorities::read(&files.ca_file, now, serves)?;
        let mut expiries: Vec<_> = authorities.expiry().into_iter().collect();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let Authorities { roots, .. } = &authorities;
        let mut builder = WebPkiClientVerifier::builder_with_provider(
            Arc::new(roots.clone()),
            Arc::clone(&provider),
        );
        let mut warnings = authorities.warnings();
        if let Some(file) = &files.crl_file {
            let lists = Lists::read(file, &authorities, now)?;
            expiries.extend(lists.expiry);
            warnings.extend(lists.warnings);
            // Where nobody knows whether a certificate is revoked, it is as bad as revoked.
            builder = builder.with_crls(lists.der).enforce_revocation_expiration();
        }
        if files.need == ClientCertNeed::Optional {
            builder = builder.allow_unauthenticated();
        }
        let unsupported = |_| {
            let path = told(files.crl_file.as_ref().unwrap_or(&files.ca_file));
            let what = "revocation list";
            vec![Fault::Damaged { path, what }]
        };
        let verifier = builder.build().map_err(unsupported)?;
        Ok(Self {
            verifier: Arc::new(OnlyForClients(verifier)),
            expiries,
            warnings,
        })
    }
}

/// Refuses also who does not say what it is for, whom `webpki` takes as being for everything.
#[derive(Debug)]
struct OnlyForClients(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for OnlyForClients {
    fn offer_client_auth(&self) -> bool {
        self.0.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.0.verify_client_cert(leaf, between, now)?;
        if is_for_clients(leaf) {
            Ok(verified)
        } else {
            Err(CertificateError::InvalidPurpose.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, leaf, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, leaf, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

impl Authorities {
    fn read(file: &Path, now: WallMillis, serves: bool) -> Result<Self, Vec<Fault>> {
        let (path, what) = (told(file), "certificate");
        let text = read(file, FILE_BYTES_MAX).map_err(|fault| vec![fault])?.0;
        let der: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        let der = der.ok().filter(|der| !der.is_empty());
        let hint = something_else(&text);
        let not_pem = Fault::NotPem {
            path: path.clone(),
            what,
            hint,
        };
        let der = der.ok_or_else(|| vec![not_pem])?;
        let (mut roots, mut all, mut faults) = (RootCertStore::empty(), Vec::new(), Vec::new());
        let mut expired = Vec::new();
        for der in der {
            match Authority::read(&der) {
                Ok(authority) if serves && now > authority.certificate.not_after => {
                    expired.push(authority);
                }
                Ok(authority) if roots.add(der).is_ok() => {
                    faults.extend(judged(&authority, &path, now));
                    all.push(authority);
                }
                Ok(_) | Err(NoAuthority::Damaged) => {
                    let path = path.clone();
                    faults.push(Fault::Damaged { path, what });
                }
                Err(NoAuthority::MayNot(subject)) => {
                    let path = path.clone();
                    faults.push(Fault::NoAuthority { path, subject });
                }
            }
        }
        if all.is_empty() {
            // Whom nobody is left to vouch for can't be asked for.
            faults.extend(expired.iter().filter_map(|one| judged(one, &path, now)));
        }
        if faults.is_empty() {
            Ok(Self {
                path,
                roots,
                all,
                expired,
            })
        } else {
            Err(faults)
        }
    }

    fn warnings(&self) -> Vec<Warning> {
        let expired = self.expired.iter().map(|authority| &authority.certificate);
        expired
            .map(|certificate| Warning::AuthorityExpired {
                path: self.path.clone(),
                subject: certificate.subject.to_string(),
                at: certificate.not_after,
            })
            .collect()
    }

    /// The end that comes first.
    fn expiry(&self) -> Option<Expiry> {
        let certificates = self.all.iter().map(|authority| &authority.certificate);
        let first = certificates.min_by_key(|certificate| certificate.not_after)?;
        Some(Expiry {
            ends: Ends::ClientAuthority,
            path: self.path.clone(),
            subject: first.subject.to_string(),
            not_after: first.not_after,
        })
    }
}

/// What is wrong with an authority.
fn judged(authority: &Authority, path: &str, now: WallMillis) -> Option<Fault> {
    let certificate = &authority.certificate;
    let (path, subject) = (path.to_owned(), certificate.subject.to_string());
    let (from, until) = (certificate.not_before, certificate.not_after);
    if now > until {
        let at = until;
        return Some(Fault::AuthorityExpired { path, subject, at });
    }
    if now < from {
        let at = from;
        return Some(Fault::AuthorityNotYetValid { path, subject, at });
    }
    match certificate.key {
        KeyKind::Rsa(bits) if bits < RSA_BITS_MIN => Some(Fault::ShortRsa { path, bits }),
        KeyKind::Rsa(_) | KeyKind::Elliptic => None,
        KeyKind::Other => {
            let what = "certificate";
            Some(Fault::Damaged { path, what })
        }
    }
}

impl Lists {
    fn read(file: &Path, authorities: &Authorities, now: WallMillis) -> Result<Self, Vec<Fault>> {
        let (path, what) = (told(file), "revocation list");
        let text = read(file, LISTS_BYTES_MAX).map_err(|fault| vec![fault])?.0;
        let der: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&text).collect();
        // Without a list rustls would ask for none.
        let der = der.ok().filter(|der| !der.is_empty());
        let hint = something_else(&text);
        let not_pem = Fault::NotPem {
            path: path.clone(),
            what,
            hint,
        };
        let der = der.ok_or_else(|| vec![not_pem])?;
        let lists: Option<Vec<_>> = der.iter().map(|der| RevocationList::read(der)).collect();
        let damaged = Fault::Damaged {
            path: path.clone(),
            what,
        };
        let lists = lists.ok_or_else(|| vec![damaged])?;
        let mut faults = Vec::new();
        for (index, list) in lists.iter().enumerate() {
            faults.extend(list_judged(list, &path, authorities, now));
            let mut before = lists.iter().take(index);
            if before.any(|other| other.hides(list)) {
                let (path, issuer) = (path.clone(), list.issuer.to_string());
                faults.push(Fault::SeveralLists { path, issuer });
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let first = lists.iter().min_by_key(|list| list.next_update());
        let expiry = first.and_then(|first| {
            Some(Expiry {
                ends: Ends::RevocationList,
                path: path.clone(),
                subject: first.issuer.to_string(),
                not_after: first.next_update()?,
            })
        });
        let known = aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .all;
        let lacks = |authority: &&Authority| !lists.iter().any(|list| list.is_of(authority, known));
        let lacking = authorities.all.iter().filter(lacks);
        let warnings = lacking.map(|authority| Warning::NoList {
            path: path.clone(),
            subject: authority.certificate.subject.to_string(),
        });
        let warnings = warnings.collect();
        Ok(Self {
            der,
            expiry,
            warnings,
        })
    }
}

/// What is wrong with a list.
fn list_judged(
    list: &RevocationList<'_>,
    path: &str,
    authorities: &Authorities,
    now: WallMillis,
) -> Option<Fault> {
    let (path, issuer) = (path.to_owned(), list.issuer.to_string());
    let known = aws_lc_rs::default_provider()
        .signature_verification_algorithms
        .all;
    let mut all = authorities.all.iter();
    if !all.any(|authority| list.is_of(authority, known)) {
        let mut expired = authorities.expired.iter();
        if expired.any(|authority| list.is_of(authority, known)) {
            return None;
        }
        return Some(Fault::ListOfNobody {
            path,
            issuer,
            authorities: authorities.path.clone(),
        });
    }
    if let Some(revoked) = authorities.all.iter().find(|one| list.revokes(one)) {
        return Some(Fault::AuthorityRevoked {
            path,
            subject: revoked.certificate.subject.to_string(),
            authorities: authorities.path.clone(),
        });
    }
    let from = list.this_update();
    if now < from {
        let at = from;
        return Some(Fault::ListNotYetValid { path, issuer, at });
    }
    match list.next_update() {
        None => Some(Fault::ListWithoutEnd { path, issuer }),
        Some(at) if now > at => Some(Fault::ListExpired { path, issuer, at }),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests;

//! A certificate and its key, read from their files and judged: each fault has its own message
//! and names its file.

use super::certificate::{Certificate, KeyKind};
use super::fault::{Fault, RSA_BITS_MIN, Warning};
use super::names::ServedNames;
use super::pem_file::{FILE_BYTES_MAX, read, something_else, told};
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tollkeep_types::WallMillis;

/// A certificate, its key, and whom it is for.
#[derive(Clone, Debug)]
pub struct PairFiles {
    /// The chain, leaf first.
    pub cert_file: PathBuf,
    /// The key.
    pub key_file: PathBuf,
    /// The server names it is for, lower case; empty for those it carries itself.
    pub names: Vec<String>,
    /// Whether it is served though its time is over: another is on its way.
    pub may_be_over: bool,
}

/// How strictly pairs are judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) now: WallMillis,
    pub(crate) insecure_key_mode: bool,
    pub(crate) in_production: bool,
}

/// A pair that can be served.
pub(crate) struct Pair {
    pub(crate) certified: Arc<CertifiedKey>,
    pub(crate) leaf: Certificate,
    pub(crate) names: ServedNames,
    pub(crate) path: String,
    pub(crate) warnings: Vec<Warning>,
}

impl Pair {
    /// Reads and judges a pair.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(crate) fn load(files: &PairFiles, rules: Rules) -> Result<Self, Vec<Fault>> {
        let (chain, key) = (read_chain(files, rules), read_key(&files.key_file, rules));
        let mut faults = Vec::new();
        let chain = chain.map_err(|found| faults.extend(found)).ok();
        let key = key.map_err(|found| faults.extend(found)).ok();
        let (Some(chain), Some(key)) = (chain, key) else {
            return Err(faults);
        };
        let (cert, key_path) = (told(&files.cert_file), told(&files.key_file));
        let mismatch = Fault::Mismatch {
            key: key_path.clone(),
            cert: cert.clone(),
        };
        let damaged = |_| Fault::Damaged {
            path: key_path,
            what: "private key",
        };
        let signing = any_supported_type(&key).map_err(|error| vec![damaged(error)])?;
        let certified = CertifiedKey::new(chain.der, signing);
        certified.keys_match().map_err(|_| vec![mismatch])?;
        let leaf = chain.leaf;
        let names = match &files.names {
            own if !own.is_empty() => own.clone(),
            _ if leaf.dns_names().next().is_some() => leaf.dns_names().map(str::to_owned).collect(),
            // What was usual before alternative names, and still is in recipes.
            _ => leaf
                .subject
                .common_name()
                .iter()
                .map(|name| name.to_ascii_lowercase())
                .collect(),
        };
        Ok(Self {
            certified: Arc::new(certified),
            names: ServedNames::new(names),
            leaf,
            path: cert,
            warnings: chain.warnings,
        })
    }
}

struct Chain {
    der: Vec<CertificateDer<'static>>,
    leaf: Certificate,
    warnings: Vec<Warning>,
}

fn read_chain(files: &PairFiles, rules: Rules) -> Result<Chain, Vec<Fault>> {
    let path = told(&files.cert_file);
    let text = read(&files.cert_file, FILE_BYTES_MAX)
        .map_err(|fault| vec![fault])?
        .0;
    let not_pem = || Fault::NotPem {
        path: path.clone(),
        what: "certificate",
        hint: something_else(&text),
    };
    let der: Vec<_> = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<_, _>>()
        .map_err(|_| vec![not_pem()])?;
    let all = der.iter().map(|der| Certificate::read(der));
    let damaged = || Fault::Damaged {
        path: path.clone(),
        what: "certificate",
    };
    let all: Option<Vec<_>> = all.collect();
    let all = all.ok_or_else(|| vec![damaged()])?;
    let leaf = all.first().cloned().ok_or_else(|| vec![not_pem()])?;
    let mut faults = Vec::new();
    if rules.now > leaf.not_after && !files.may_be_over {
        let at = leaf.not_after;
        faults.push(Fault::Expired {
            path: path.clone(),
            at,
        });
    }
    if rules.now < leaf.not_before {
        let at = leaf.not_before;
        faults.push(Fault::NotYetValid {
            path: path.clone(),
            at,
        });
    }
    match leaf.key {
        KeyKind::Rsa(bits) if bits < RSA_BITS_MIN => {
            faults.push(Fault::ShortRsa {
                path: path.clone(),
                bits,
            });
        }
        KeyKind::Other => faults.push(damaged()),
        KeyKind::Rsa(_) | KeyKind::Elliptic => {}
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut warnings = Vec::new();
    let in_order = |pair: &[Certificate]| match pair {
        [issued, issuer] => issuer.is_issuer_of(issued),
        _ => true,
    };
    if !all.windows(2).all(in_order) {
        warnings.push(Warning::ChainOrder { path: path.clone() });
    }
    if !leaf.has_names {
        warnings.push(Warning::NoNames { path: path.clone() });
    }
    if rules.in_production && leaf.is_self_signed() {
        warnings.push(Warning::SelfSigned { path });
    }
    Ok(Chain {
        der,
        leaf,
        warnings,
    })
}

fn read_key(file: &Path, rules: Rules) -> Result<PrivateKeyDer<'static>, Vec<Fault>> {
    let path = told(file);
    let (text, mode) = read(file, FILE_BYTES_MAX).map_err(|fault| vec![fault])?;
    let mut faults = Vec::new();
    if mode & 0o077 != 0 && !rules.insecure_key_mode {
        faults.push(Fault::KeyMode { path: path.clone() });
    }
    let keys: Result<Vec<_>, _> = PrivateKeyDer::pem_slice_iter(&text).collect();
    let what = "private key";
    let Ok(mut keys) = keys else {
        faults.push(Fault::Damaged { path, what });
        return Err(faults);
    };
    let count = keys.len();
    match keys.pop() {
        Some(key) if count == 1 && faults.is_empty() => return Ok(key),
        Some(_) if count == 1 => {}
        Some(_) => faults.push(Fault::SeveralKeys { path, count }),
        None => {
            let encrypted = memchr::memmem::find(&text, b"ENCRYPTED").is_some();
            let hint = match encrypted {
                true => ": it is encrypted, and nobody is there to type its password",
                false => something_else(&text),
            };
            faults.push(Fault::NotPem { path, what, hint });
        }
    }
    Err(faults)
}

#[cfg(test)]
mod tests;

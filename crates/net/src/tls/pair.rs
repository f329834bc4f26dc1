//! A certificate and its key, read from their files and judged: each fault has its own message
//! and names its file.

use super::certificate::{Certificate, KeyKind};
use super::names::ServedNames;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{PemObject, SectionKind};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tollkeep_types::WallMillis;
use zeroize::Zeroizing;

/// Bytes of a file of certificates or of a key at most.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// Bits of an RSA key at least.
const RSA_BITS_MIN: usize = 2048;

/// A certificate, its key, and whom it is for.
#[derive(Clone, Debug)]
pub struct PairFiles {
    /// The chain, leaf first.
    pub cert_file: PathBuf,
    /// The key.
    pub key_file: PathBuf,
    /// The server names it is for, lower case; empty for those it carries itself.
    pub names: Vec<String>,
}

/// What makes a pair unusable.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Fault {
    /// A file is missing, or may not be read.
    #[error("{path}: can't be read: {problem}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system says.
        problem: String,
    },
    /// A file holds nothing of its kind in PEM.
    #[error("{path}: holds no {what} in PEM{hint}")]
    NotPem {
        /// The file.
        path: String,
        /// What it should hold.
        what: &'static str,
        /// What it holds instead, where that is known.
        hint: &'static str,
    },
    /// There is more than one key in the file.
    #[error("{path}: holds {count} private keys, and it is not clear which is meant")]
    SeveralKeys {
        /// The file.
        path: String,
        /// How many.
        count: usize,
    },
    /// What stands in PEM is not what it says.
    #[error("{path}: the {what} in it is damaged or of a kind that is not supported")]
    Damaged {
        /// The file.
        path: String,
        /// What it should hold.
        what: &'static str,
    },
    /// The key is another certificate's.
    #[error("{key}: this key does not match the certificate in {cert}")]
    Mismatch {
        /// The file of the key.
        key: String,
        /// The file of the certificate.
        cert: String,
    },
    /// The certificate's time is over.
    #[error("{path}: the certificate expired at {at}")]
    Expired {
        /// The file.
        path: String,
        /// When.
        at: WallMillis,
    },
    /// The certificate's time has not come.
    #[error("{path}: the certificate is not valid before {at}")]
    NotYetValid {
        /// The file.
        path: String,
        /// When.
        at: WallMillis,
    },
    /// Others can read the key.
    #[error("{path}: the key is readable by group or others: chmod 600 {path}")]
    KeyMode {
        /// The file.
        path: String,
    },
    /// The key is too short.
    #[error("{path}: the RSA key has {bits} bits: at least {RSA_BITS_MIN} are needed")]
    ShortRsa {
        /// The file of the certificate.
        path: String,
        /// Its bits.
        bits: usize,
    },
    /// No suite of the list fits a certificate.
    #[error("none of the listed cipher suites can be used with {certificates} from TLS {from} on")]
    NoSuite {
        /// The certificates.
        certificates: String,
        /// The oldest version spoken.
        from: &'static str,
    },
    /// rustls refused the settings.
    #[error("cannot set up TLS: {0}")]
    Setup(String),
}

/// What an operator should know about a pair that works.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Warning {
    /// The chain is not leaf first, each issued by the next.
    #[error("{path}: the chain is out of order: leaf first, then who issued it, and so on")]
    ChainOrder {
        /// The file.
        path: String,
    },
    /// It names nobody.
    #[error(
        "{path}: the certificate has no subject alternative name: clients that check names refuse it"
    )]
    NoNames {
        /// The file.
        path: String,
    },
    /// Nobody vouches for it.
    #[error("{path}: the certificate is self-signed: callers can't tell it from an impostor's")]
    SelfSigned {
        /// The file.
        path: String,
    },
    /// TLS 1.2 is allowed and no suite of it is.
    #[error("no listed cipher suite is of TLS 1.2: only 1.3 is spoken")]
    OnlyNewest,
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
        let (chain, key) = (
            read_chain(&files.cert_file, rules),
            read_key(&files.key_file, rules),
        );
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
            _ if !leaf.dns_names.is_empty() => leaf.dns_names.clone(),
            // What was usual before alternative names, and still is in recipes.
            _ => leaf
                .common_name
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

fn read_chain(file: &Path, rules: Rules) -> Result<Chain, Vec<Fault>> {
    let path = told(file);
    let text = read(file).map_err(|fault| vec![fault])?.0;
    let not_pem = || Fault::NotPem {
        path: path.clone(),
        what: "certificate",
        hint: if sections(&text).is_empty() {
            ""
        } else {
            ", but something else"
        },
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
    if rules.now > leaf.not_after {
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
    let (text, mode) = read(file).map_err(|fault| vec![fault])?;
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
                false if sections(&text).is_empty() => "",
                false => ", but something else",
            };
            faults.push(Fault::NotPem { path, what, hint });
        }
    }
    Err(faults)
}

/// The kinds of PEM sections in a text.
fn sections(text: &[u8]) -> Vec<SectionKind> {
    struct Any(SectionKind);
    impl PemObject for Any {
        fn from_pem(kind: SectionKind, _: Vec<u8>) -> Option<Self> {
            Some(Self(kind))
        }
    }
    let found = Any::pem_slice_iter(text).filter_map(Result::ok);
    found.map(|any| any.0).collect()
}

/// The text of a file, which may be a key.
pub(super) type PemText = Zeroizing<Vec<u8>>;

/// The text of a file and its mode.
pub(super) fn read(file: &Path) -> Result<(PemText, u32), Fault> {
    let unreadable = |error: io::Error| Fault::Unreadable {
        path: told(file),
        problem: error.to_string(),
    };
    // Before it is opened: that of a pipe would wait for a writer.
    let about = std::fs::metadata(file).map_err(unreadable)?;
    if !about.is_file() || about.len() > FILE_BYTES_MAX {
        let problem = "it is no file, or longer than 1 MiB";
        return Err(unreadable(io::Error::other(problem)));
    }
    let mut text = Zeroizing::new(Vec::with_capacity(
        usize::try_from(about.len()).unwrap_or(0),
    ));
    let opened = File::open(file).map_err(unreadable)?;
    let mut bounded = opened.take(FILE_BYTES_MAX);
    bounded.read_to_end(&mut text).map_err(unreadable)?;
    Ok((text, about.permissions().mode()))
}

fn told(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests;

//! The versions and cipher suites of TLS that may be configured: those without known weakness; and
//! who must show a certificate.

use std::fmt;
use std::str::FromStr;

/// A version of TLS.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    V1_2,
    /// TLS 1.3 (RFC 8446).
    V1_3,
}

/// What clients without a certificate are to a listener that asks for one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClientCertNeed {
    /// They are let in.
    Optional,
    /// They are not.
    Required,
}

/// Where root certificates come from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RootStore {
    /// The operating system keeps them.
    System,
    /// Those of Mozilla's programme, as they were when this program was built.
    Bundled,
    /// A file alone.
    File,
}

/// What a certificate's key must be for a suite to be used with it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SuiteKey {
    /// Any kind: TLS 1.3 suites don't say.
    Any,
    /// ECDSA or EdDSA.
    Ecdsa,
    /// RSA.
    Rsa,
}

/// A cipher suite.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CipherSuite {
    /// `TLS_AES_256_GCM_SHA384`
    Aes256Gcm,
    /// `TLS_AES_128_GCM_SHA256`
    Aes128Gcm,
    /// `TLS_CHACHA20_POLY1305_SHA256`
    ChaCha20Poly1305,
    /// `TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384`
    EcdsaAes256Gcm,
    /// `TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256`
    EcdsaAes128Gcm,
    /// `TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256`
    EcdsaChaCha20Poly1305,
    /// `TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384`
    RsaAes256Gcm,
    /// `TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256`
    RsaAes128Gcm,
    /// `TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256`
    RsaChaCha20Poly1305,
}

impl CipherSuite {
    /// All of them, those preferred first.
    pub const ALL: [Self; 9] = [
        Self::Aes256Gcm,
        Self::Aes128Gcm,
        Self::ChaCha20Poly1305,
        Self::EcdsaAes256Gcm,
        Self::EcdsaAes128Gcm,
        Self::EcdsaChaCha20Poly1305,
        Self::RsaAes256Gcm,
        Self::RsaAes128Gcm,
        Self::RsaChaCha20Poly1305,
    ];

    /// The name at IANA.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes256Gcm => "TLS_AES_256_GCM_SHA384",
            Self::Aes128Gcm => "TLS_AES_128_GCM_SHA256",
            Self::ChaCha20Poly1305 => "TLS_CHACHA20_POLY1305_SHA256",
            Self::EcdsaAes256Gcm => "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            Self::EcdsaAes128Gcm => "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            Self::EcdsaChaCha20Poly1305 => "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
            Self::RsaAes256Gcm => "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
            Self::RsaAes128Gcm => "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            Self::RsaChaCha20Poly1305 => "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        }
    }

    /// The version it belongs to.
    pub const fn version(self) -> TlsVersion {
        match self.key() {
            SuiteKey::Any => TlsVersion::V1_3,
            SuiteKey::Ecdsa | SuiteKey::Rsa => TlsVersion::V1_2,
        }
    }

    /// The kind of key it is used with.
    pub const fn key(self) -> SuiteKey {
        match self {
            Self::Aes256Gcm | Self::Aes128Gcm | Self::ChaCha20Poly1305 => SuiteKey::Any,
            Self::EcdsaAes256Gcm | Self::EcdsaAes128Gcm | Self::EcdsaChaCha20Poly1305 => {
                SuiteKey::Ecdsa
            }
            Self::RsaAes256Gcm | Self::RsaAes128Gcm | Self::RsaChaCha20Poly1305 => SuiteKey::Rsa,
        }
    }
}

/// The text names no suite that may be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is no suite that may be used; these may: {names}", names = names())]
pub struct ParseSuiteError(String);

fn names() -> String {
    CipherSuite::ALL.map(CipherSuite::name).join(", ")
}

impl FromStr for CipherSuite {
    type Err = ParseSuiteError;

    fn from_str(text: &str) -> Result<Self, ParseSuiteError> {
        let mut all = Self::ALL.into_iter();
        all.find(|suite| suite.name() == text)
            .ok_or_else(|| ParseSuiteError(text.to_owned()))
    }
}

impl fmt::Display for CipherSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1_2 => "1.2",
            Self::V1_3 => "1.3",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // EDGE-10
    #[test]
    fn a_suite_is_known_by_its_name_at_iana_alone() {
        for suite in CipherSuite::ALL {
            assert_eq!(suite.name().parse(), Ok(suite));
        }
        for (name, text) in [
            ("CBC", "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256"),
            ("RSA key exchange", "TLS_RSA_WITH_AES_128_GCM_SHA256"),
            ("as OpenSSL spells it", "ECDHE-RSA-AES128-GCM-SHA256"),
            ("lower case", "tls_aes_256_gcm_sha384"),
            ("nothing", ""),
        ] {
            let error = text.parse::<CipherSuite>().unwrap_err().to_string();
            let all = CipherSuite::ALL.iter();
            let listed = all.filter(|suite| error.contains(suite.name())).count();
            assert_eq!(listed, 9, "{name}: {error}");
        }
    }
}

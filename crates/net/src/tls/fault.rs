//! What is told of certificates, keys and revocation lists: each fault has its own message and
//! names its file.

use tollkeep_types::WallMillis;

/// Bits of an RSA key at least.
pub(super) const RSA_BITS_MIN: usize = 2048;

/// What keeps a listener from speaking TLS as it should.
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
    /// A certificate that is to be believed may not issue others.
    #[error("{path}: the certificate of {subject} is no authority: it may not issue others")]
    NoAuthority {
        /// The file.
        path: String,
        /// Whose it is.
        subject: String,
    },
    /// An authority's time is over.
    #[error("{path}: the authority {subject} expired at {at}")]
    AuthorityExpired {
        /// The file.
        path: String,
        /// Whose certificate.
        subject: String,
        /// When.
        at: WallMillis,
    },
    /// An authority's time has not come.
    #[error("{path}: the authority {subject} is not valid before {at}")]
    AuthorityNotYetValid {
        /// The file.
        path: String,
        /// Whose certificate.
        subject: String,
        /// When.
        at: WallMillis,
    },
    /// A revocation list is nobody's who is believed.
    #[error(
        "{path}: the revocation list of {issuer} is not signed by an authority of {authorities}"
    )]
    ListOfNobody {
        /// The file.
        path: String,
        /// Whose it says it is.
        issuer: String,
        /// The file of those who are believed.
        authorities: String,
    },
    /// A revocation list's time is over.
    #[error("{path}: the revocation list of {issuer} expired at {at}")]
    ListExpired {
        /// The file.
        path: String,
        /// Whose.
        issuer: String,
        /// When.
        at: WallMillis,
    },
    /// A revocation list's time has not come.
    #[error("{path}: the revocation list of {issuer} does not hold before {at}")]
    ListNotYetValid {
        /// The file.
        path: String,
        /// Whose.
        issuer: String,
        /// When.
        at: WallMillis,
    },
    /// A revocation list does not say until when it holds.
    #[error("{path}: the revocation list of {issuer} does not say when the next one comes")]
    ListWithoutEnd {
        /// The file.
        path: String,
        /// Whose.
        issuer: String,
    },
    /// Of two revocation lists only one would be looked at.
    #[error("{path}: holds two revocation lists of {issuer}: keep the newer one")]
    SeveralLists {
        /// The file.
        path: String,
        /// Whose.
        issuer: String,
    },
    /// An authority that is believed is revoked.
    #[error("{path}: revokes {subject}, which {authorities} has among the authorities")]
    AuthorityRevoked {
        /// The file of the list.
        path: String,
        /// Whose certificate.
        subject: String,
        /// The file of those who are believed.
        authorities: String,
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

/// What an operator should know about what works.
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
    /// Whether an authority revoked a certificate is not known.
    #[error(
        "{path}: holds no revocation list of {subject}: certificates it issued itself are refused"
    )]
    NoList {
        /// The file.
        path: String,
        /// The authority.
        subject: String,
    },
    /// The certificate's time ended while it was served.
    #[error("{path}: the certificate expired at {at}: it is served on, and clients refuse it")]
    Expired {
        /// The file.
        path: String,
        /// When.
        at: WallMillis,
    },
    /// An authority's time is over.
    #[error("{path}: the authority {subject} expired at {at}: it is believed no more")]
    AuthorityExpired {
        /// The file.
        path: String,
        /// Whose certificate.
        subject: String,
        /// When.
        at: WallMillis,
    },
    /// TLS 1.2 is allowed and no suite of it is.
    #[error("no listed cipher suite is of TLS 1.2: only 1.3 is spoken")]
    OnlyNewest,
}

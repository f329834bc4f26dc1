//! Signatures on secp256k1, and whose they are.

use super::{Address, hex_bytes, keccak256, to_hex};
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use secp256k1::{Message, Secp256k1};

/// A signature as a caller sends it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Signature {
    /// Of an account with a key: r, s and which of the two points it is, 0 or 1.
    Key {
        /// r and s.
        compact: [u8; 64],
        /// 0 or 1; what else was sent is no signature of anybody.
        recovery: Option<u8>,
    },
    /// Of a contract (EIP-1271, ERC-6492): only the chain can say whether it is one.
    Contract(Box<[u8]>),
}

/// Why a signature is nobody's.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SignatureFault {
    /// `v` is none of 0, 1, 27, 28.
    #[error("names no point of the curve")]
    Recovery,
    /// `s` is above half the order: the same signature in its other, malleable form (EIP-2).
    #[error("is in its malleable form")]
    HighS,
    /// No key made it.
    #[error("was made by no key")]
    Nobody,
}

/// Bytes of a signature at most.
const BYTES_MAX: usize = 4096;

/// Half the order of the curve, rounded down.
const HALF_ORDER: [u8; 32] = [
    0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0x5d, 0x57, 0x6e, 0x73, 0x57, 0xa4, 0x50, 0x1d, 0xdf, 0xe9, 0x2f, 0x46, 0x68, 0x1b, 0x20, 0xa0,
];

impl Signature {
    /// A signature in hexadecimal digits; 65 bytes are one of a key.
    pub fn from_hex(text: &str) -> Option<Self> {
        if text.len() > 2 + 2 * BYTES_MAX {
            return None;
        }
        let bytes = hex_bytes(text)?;
        if bytes.is_empty() {
            return None;
        }
        let Some((compact, &[v])) = bytes.split_first_chunk::<64>() else {
            return Some(Self::Contract(bytes.into()));
        };
        let recovery = match v {
            0 | 27 => Some(0),
            1 | 28 => Some(1),
            _ => None,
        };
        Some(Self::Key {
            compact: *compact,
            recovery,
        })
    }

    /// As it is sent on: `v` is 27 or 28, for there are verifiers that know no other.
    pub fn to_hex(&self) -> String {
        match self {
            Self::Key { compact, recovery } => {
                let mut bytes = compact.to_vec();
                bytes.push(27_u8.saturating_add(recovery.unwrap_or_default()));
                to_hex(&bytes)
            }
            Self::Contract(bytes) => to_hex(bytes),
        }
    }
}

/// The account whose key signed this hash.
///
/// # Errors
/// The signature is malleable, or nobody's.
pub(crate) fn signer(
    hash: [u8; 32],
    compact: &[u8; 64],
    recovery: Option<u8>,
) -> Result<Address, SignatureFault> {
    let recovery = RecoveryId::from_i32(recovery.map_or(-1, i32::from))
        .map_err(|_| SignatureFault::Recovery)?;
    let (_, s) = compact.split_at(32);
    if s > HALF_ORDER.as_slice() {
        return Err(SignatureFault::HighS);
    }
    let signature = RecoverableSignature::from_compact(compact, recovery)
        .map_err(|_| SignatureFault::Nobody)?;
    let key = Secp256k1::verification_only()
        .recover_ecdsa(&Message::from_digest(hash), &signature)
        .map_err(|_| SignatureFault::Nobody)?
        .serialize_uncompressed();
    // The first byte says that the key is uncompressed, and is not part of it.
    let (_, point) = key.split_at(1);
    let hashed = keccak256(&[point]);
    let (_, last) = hashed.split_at(12);
    last.try_into()
        .map(Address::from_bytes)
        .map_err(|_| SignatureFault::Nobody)
}

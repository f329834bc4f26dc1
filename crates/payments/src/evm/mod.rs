//! What chains of the Ethereum kind sign with: addresses, typed data (EIP-712), signatures.

mod address;
mod signature;
mod typed_data;

pub use address::{Address, AddressFault};
pub use signature::{Signature, SignatureFault};
pub use typed_data::{Domain, PERMIT2, Permit2, TransferAuthorization, Witness};

use sha3::{Digest, Keccak256};

/// Keccak-256 of the parts, one after the other as if they were one text.
pub(crate) fn keccak256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Keccak256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// The bytes of `0x` and hexadecimal digits of either case, exactly `N` of them.
pub(crate) fn hex_array<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.strip_prefix("0x")?;
    if digits.len() != N.checked_mul(2)? {
        return None;
    }
    let mut bytes = [0; N];
    for (slot, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
        *slot = hex_pair(pair)?;
    }
    Some(bytes)
}

/// The bytes of `0x` and hexadecimal digits of either case.
pub(crate) fn hex_bytes(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x")?.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits.chunks_exact(2).map(hex_pair).collect()
}

fn hex_pair(pair: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let [high, low] = pair else {
        return None;
    };
    u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
}

/// `0x` and lower-case digits.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    let pairs = bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]);
    "0x".chars().chain(pairs).collect()
}

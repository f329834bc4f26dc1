//! Addresses of accounts and contracts.

use super::{hex_array, keccak256};
use std::fmt;
use std::str::FromStr;

/// An address of 20 bytes. It is compared as bytes; written, it carries the checksum of EIP-55.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Address([u8; 20]);

/// Why a text of a configuration is no address.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AddressFault {
    /// Not `0x` and 40 digits.
    #[error("want `0x` and 40 hexadecimal digits")]
    NotHex,
    /// In both cases, and not as EIP-55 has it: a digit was mistyped.
    #[error("has a wrong checksum (EIP-55): copy it again")]
    Checksum,
    /// Nobody has it.
    #[error("is the address of nobody")]
    Zero,
}

impl Address {
    /// The address of these bytes.
    pub const fn from_bytes(bytes: [u8; 20]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// Whether it is the address of nobody.
    pub fn is_zero(&self) -> bool {
        self.0 == [0; 20]
    }

    /// An address as a caller sends it: any case, no checksum asked.
    pub fn from_hex(text: &str) -> Option<Self> {
        hex_array(text).map(Self)
    }

    /// As a word of typed data: 32 bytes, the address last.
    pub(crate) fn word(&self) -> [u8; 32] {
        let mut word = [0; 32];
        for (slot, byte) in word.iter_mut().skip(12).zip(self.0) {
            *slot = byte;
        }
        word
    }
}

impl FromStr for Address {
    type Err = AddressFault;

    /// An address as an operator writes it: where both cases stand in it, the checksum must hold,
    /// for money that goes to a mistyped address is gone.
    fn from_str(text: &str) -> Result<Self, AddressFault> {
        let address = Self::from_hex(text).ok_or(AddressFault::NotHex)?;
        let digits = text.strip_prefix("0x").unwrap_or(text);
        let has = |is: fn(&char) -> bool| digits.chars().any(|digit| is(&digit));
        let is_mixed = has(char::is_ascii_lowercase) && has(char::is_ascii_uppercase);
        if is_mixed && address.to_string() != text {
            return Err(AddressFault::Checksum);
        }
        if address.is_zero() {
            return Err(AddressFault::Zero);
        }
        Ok(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = super::to_hex(&self.0);
        let plain = plain.strip_prefix("0x").unwrap_or(&plain);
        let hash = keccak256(&[plain.as_bytes()]);
        let nibbles = hash.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        out.write_str("0x")?;
        for (digit, nibble) in plain.chars().zip(nibbles) {
            let raised = digit.to_ascii_uppercase();
            write!(out, "{}", if nibble >= 8 { raised } else { digit })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // PAY-30
    #[test]
    fn a_mixed_address_has_its_checksum() {
        // Those of EIP-55 itself.
        for text in [
            "0x52908400098527886E0F7030069857D2E4169EE7",
            "0xde709f2102306220921060314715629080e2fb77",
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
            "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
            "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
        ] {
            let address: Address = text.parse().unwrap();
            let lower = text.to_ascii_lowercase();
            assert_eq!(lower.parse(), Ok(address), "{text}");
        }
        for (text, want) in [
            (
                "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD",
                AddressFault::Checksum,
            ),
            (
                "5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
                AddressFault::NotHex,
            ),
            (
                "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeA",
                AddressFault::NotHex,
            ),
            (
                "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeg",
                AddressFault::NotHex,
            ),
            (
                "0x0000000000000000000000000000000000000000",
                AddressFault::Zero,
            ),
            ("", AddressFault::NotHex),
        ] {
            assert_eq!(text.parse::<Address>(), Err(want), "{text}");
        }
    }
}

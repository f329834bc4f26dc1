//! Identifiers that look like the vendors' and are a function of the request body.

/// Marks one request body; everything that looks random in its answer comes from here.
#[derive(Clone, Copy)]
pub(crate) struct Ids(u64);

const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

impl Ids {
    /// Of a request body.
    pub(crate) fn of(body: &[u8]) -> Self {
        Self(hash(body))
    }

    /// `prefix` and `len` letters and digits. `ordinal` tells apart ids of one prefix in one answer.
    pub(crate) fn letters(self, prefix: &str, len: usize, ordinal: usize) -> String {
        self.text(prefix, len, ordinal, LETTERS)
    }

    /// `prefix` and `len` lower-case hexadecimal digits.
    pub(crate) fn hex(self, prefix: &str, len: usize, ordinal: usize) -> String {
        self.text(prefix, len, ordinal, b"0123456789abcdef")
    }

    fn text(self, prefix: &str, len: usize, ordinal: usize, digits: &[u8]) -> String {
        let mut state = self.0 ^ hash(prefix.as_bytes()) ^ (ordinal as u64).rotate_left(32);
        let mut out = String::with_capacity(prefix.len() + len);
        out.push_str(prefix);
        for _ in 0..len {
            let pick = scramble(&mut state) % digits.len() as u64;
            let digit = usize::try_from(pick).ok().and_then(|at| digits.get(at));
            out.push(char::from(digit.copied().unwrap_or(b'0')));
        }
        out
    }
}

/// FNV-1a. Nothing here needs to resist an attacker.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |state, byte| {
        (state ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The next number of the splitmix64 sequence.
pub(crate) fn scramble(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_depend_on_body_prefix_and_ordinal_alone() {
        let ids = Ids::of(b"{}");
        assert_eq!(
            ids.letters("call_", 24, 0),
            Ids::of(b"{}").letters("call_", 24, 0)
        );
        assert_eq!(ids.letters("call_", 24, 0).len(), 29);
        let others = [
            ids.letters("call_", 24, 1),
            ids.letters("toolu", 24, 0),
            Ids::of(b"{ }").letters("call_", 24, 0),
        ];
        for other in others {
            assert_ne!(other, ids.letters("call_", 24, 0));
        }
        assert!(ids.hex("", 40, 0).bytes().all(|b| b.is_ascii_hexdigit()));
    }
}

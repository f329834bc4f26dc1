//! A fixed set of field names and name prefixes, laid out at compile time for quick look-up.

/// One slot per letter and one for everything else.
const LETTERS: usize = 27;
/// Names by their first letter, and those that begin with `x-` by the letter after it.
const BUCKETS: usize = 2 * LETTERS;

/// A set of lower-case names; one that ends in `*` stands for all that begin with it.
pub(super) struct NameSet<const N: usize> {
    /// Ordered by bucket.
    names: [&'static str; N],
    /// Bucket `b` is `names[starts[b]..starts[b + 1]]`.
    starts: [usize; BUCKETS + 1],
}

impl<const N: usize> NameSet<N> {
    #[expect(
        clippy::indexing_slicing,
        reason = "runs in constants only: an index out of range fails the build"
    )]
    pub(super) const fn new(unordered: [&'static str; N]) -> Self {
        let mut names = [""; N];
        let mut starts = [0; BUCKETS + 1];
        let mut filled = 0;
        let mut slot = 0;
        while slot < BUCKETS {
            starts[slot] = filled;
            let mut at = 0;
            while at < N {
                if bucket(unordered[at].as_bytes()) == slot {
                    names[filled] = unordered[at];
                    filled += 1;
                }
                at += 1;
            }
            slot += 1;
        }
        starts[BUCKETS] = filled;
        Self { names, starts }
    }

    /// HOT. Whether `name` is in the set. Case does not matter and `_` is `-`: what reads fields
    /// as environment variables (CGI, WSGI) takes `X_Real_IP` for `X-Real-IP`.
    pub(super) fn contains(&self, name: &[u8]) -> bool {
        let slot = bucket(name);
        let (Some(&start), Some(&end)) = (self.starts.get(slot), self.starts.get(slot + 1)) else {
            return false;
        };
        let Some(candidates) = self.names.get(start..end) else {
            return false;
        };
        candidates
            .iter()
            .any(|pattern| matches(pattern.as_bytes(), name))
    }
}

const fn bucket(name: &[u8]) -> usize {
    match name {
        [b'x' | b'X', b'-' | b'_', third, ..] => LETTERS + letter(*third),
        [first, ..] => letter(*first),
        [] => LETTERS - 1,
    }
}

const fn letter(byte: u8) -> usize {
    let lower = byte | 0x20;
    if lower.is_ascii_lowercase() {
        (lower - b'a') as usize
    } else {
        LETTERS - 1
    }
}

fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let same = |pattern: &[u8], name: &[u8]| {
        pattern
            .iter()
            .zip(name)
            .all(|(want, sent)| *want == fold(*sent))
    };
    match pattern.split_last() {
        Some((b'*', prefix)) => name.len() >= prefix.len() && same(prefix, name),
        Some(_) | None => name.len() == pattern.len() && same(pattern, name),
    }
}

const fn fold(byte: u8) -> u8 {
    if byte == b'_' {
        b'-'
    } else {
        byte.to_ascii_lowercase()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static SET: NameSet<5> = NameSet::new(["via", "x-api-key", "cf-*", "x-payment*", "te"]);

    #[test]
    fn names_match_whole_and_prefixes_match_the_front() {
        for name in [
            "via",
            "VIA",
            "x-api-key",
            "X_Api-Key",
            "cf-",
            "CF_Ray",
            "x-payment",
            "x-payments",
            "te",
            "TE",
        ] {
            assert!(SET.contains(name.as_bytes()), "{name}");
        }
        for name in [
            "",
            "vi",
            "viax",
            "x-api-keys",
            "x-api-ke",
            "cf",
            "cfx",
            "x-paymen",
            "x-",
            "x",
            "t",
            "te-",
            "7",
            "é",
        ] {
            assert!(!SET.contains(name.as_bytes()), "{name}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_set_agrees_with_a_plain_list(name in "[a-zA-Z_-]{0,12}") {
            let folded = name.to_ascii_lowercase().replace('_', "-");
            let listed = ["via", "x-api-key", "te"].contains(&folded.as_str())
                || folded.starts_with("cf-") || folded.starts_with("x-payment");
            proptest::prop_assert_eq!(SET.contains(name.as_bytes()), listed);
        }
    }
}

//! A fixed table of field names and name prefixes, laid out at compile time for quick look-up.

/// One slot per letter and one for everything else.
const LETTERS: usize = 27;
/// Names by their first letter, and those that begin with `x-` by the letter after it.
const BUCKETS: usize = 2 * LETTERS;

/// What is known of lower-case names; one that ends in `*` stands for all that begin with it. No
/// name may match two rows.
#[derive(Debug)]
pub struct NameTable<T, const N: usize> {
    /// Ordered by bucket.
    rows: [Row<T>; N],
    /// Bucket `b` is `rows[starts[b]..starts[b + 1]]`.
    starts: [usize; BUCKETS + 1],
}

#[derive(Clone, Copy, Debug)]
struct Row<T> {
    text: &'static [u8],
    /// Names only begin with the text.
    is_prefix: bool,
    value: T,
}

impl<T: Copy, const N: usize> NameTable<T, N> {
    /// A table of these names, in any order, and what is known of them.
    #[expect(
        clippy::indexing_slicing,
        reason = "runs in constants only: an index out of range fails the build"
    )]
    pub const fn new(unordered: [(&'static str, T); N]) -> Self {
        let mut rows = [row(unordered[0]); N];
        let mut starts = [0; BUCKETS + 1];
        let mut filled = 0;
        let mut slot = 0;
        while slot < BUCKETS {
            starts[slot] = filled;
            let mut at = 0;
            while at < N {
                if bucket(unordered[at].0.as_bytes()) == slot {
                    rows[filled] = row(unordered[at]);
                    filled += 1;
                }
                at += 1;
            }
            slot += 1;
        }
        starts[BUCKETS] = filled;
        Self { rows, starts }
    }

    /// HOT. What is known of a name. Case does not matter and `_` is `-`.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<T> {
        let slot = bucket(name);
        let (start, end) = (self.starts.get(slot)?, self.starts.get(slot + 1)?);
        let rows = self.rows.get(*start..*end)?;
        let row = rows.iter().find(|row| row.matches(name))?;
        Some(row.value)
    }

    /// HOT. Whether a name is in the table. Case does not matter and `_` is `-`.
    pub fn contains(&self, name: &[u8]) -> bool {
        self.find(name).is_some()
    }
}

const fn row<T: Copy>((name, value): (&'static str, T)) -> Row<T> {
    let (text, is_prefix) = match name.as_bytes() {
        [prefix @ .., b'*'] => (prefix, true),
        whole => (whole, false),
    };
    Row {
        text,
        is_prefix,
        value,
    }
}

impl<T> Row<T> {
    #[inline]
    fn matches(&self, name: &[u8]) -> bool {
        let fits = if self.is_prefix {
            name.len() >= self.text.len()
        } else {
            name.len() == self.text.len()
        };
        fits && self
            .text
            .iter()
            .zip(name)
            .all(|(want, sent)| *want == fold(*sent))
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

    static SET: NameTable<u8, 5> = NameTable::new([
        ("via", 0),
        ("x-api-key", 1),
        ("cf-*", 2),
        ("x-payment*", 3),
        ("te", 4),
    ]);

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
        fn a_table_agrees_with_a_plain_list(
            name in "(via|x-api-key|cf-|x-payment|te|X_Api_Key|)[a-zA-Z_-]{0,4}",
        ) {
            let folded = name.to_ascii_lowercase().replace('_', "-");
            let listed = match folded.as_str() {
                "via" => Some(0),
                "x-api-key" => Some(1),
                name if name.starts_with("cf-") => Some(2),
                name if name.starts_with("x-payment") => Some(3),
                "te" => Some(4),
                _ => None,
            };
            proptest::prop_assert_eq!(SET.find(name.as_bytes()), listed);
        }
    }
}

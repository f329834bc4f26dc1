//! What a request and an answer say about caches (RFC 9111, section 5.2).

/// What the directives of a message say, as far as it matters here.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Directives {
    pub(super) no_store: bool,
    pub(super) no_cache: bool,
    pub(super) only_if_cached: bool,
    pub(super) private: bool,
    /// Seconds; a value that is no number is none.
    pub(super) max_age: Option<u64>,
    pub(super) s_maxage: Option<u64>,
}

impl Directives {
    /// Reads all `Cache-Control` fields of a message. What is unknown says nothing; a directive that
    /// is said twice with different times has the shorter one.
    pub(super) fn read<'v>(values: impl Iterator<Item = &'v [u8]>) -> Self {
        let mut read = Self::default();
        for part in values.flat_map(|value| value.split(|byte| *byte == b',')) {
            let mut sides = part.splitn(2, |byte| *byte == b'=');
            let name = sides.next().unwrap_or_default().trim_ascii();
            let value = sides.next().map(<[u8]>::trim_ascii);
            read.take(&name.to_ascii_lowercase(), value);
        }
        read
    }

    fn take(&mut self, name: &[u8], value: Option<&[u8]>) {
        match name {
            b"no-store" => self.no_store = true,
            b"no-cache" => self.no_cache = true,
            b"only-if-cached" => self.only_if_cached = true,
            b"private" => self.private = true,
            b"max-age" => self.max_age = shorter(self.max_age, value),
            b"s-maxage" => self.s_maxage = shorter(self.s_maxage, value),
            _ => {}
        }
    }
}

/// A time that can't be read is none at all: what has it is stale (RFC 9111, section 4.2.1).
fn shorter(known: Option<u64>, value: Option<&[u8]>) -> Option<u64> {
    let text = value.unwrap_or_default();
    let text = text.strip_prefix(b"\"").unwrap_or(text);
    let text = text.strip_suffix(b"\"").unwrap_or(text);
    let is_number = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(text).ok().filter(|_| is_number);
    let seconds = text.map_or(0, |text| text.parse().unwrap_or(u64::MAX));
    Some(known.map_or(seconds, |known| known.min(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> Directives {
        Directives::read(values.iter().map(|value| value.as_bytes()))
    }

    // LLM-86
    #[test]
    #[rustfmt::skip]
    fn directives_are_read_from_all_fields_in_any_case() {
        let none = Directives::default();
        for (name, values, want) in [
            ("none", &[][..], none),
            ("empty", &["", " , ,"], none),
            ("unknown", &["immutable, foo=bar"], none),
            ("case and blanks", &[" No-Store ,\tMAX-AGE = 5"], Directives { no_store: true, max_age: Some(5), ..none }),
            ("two fields", &["no-cache", "only-if-cached"], Directives { no_cache: true, only_if_cached: true, ..none }),
            ("of some fields is of all", &["private=\"x\""], Directives { private: true, ..none }),
            ("the shorter one", &["max-age=9, max-age=3"], Directives { max_age: Some(3), ..none }),
            ("quoted", &["s-maxage=\"7\""], Directives { s_maxage: Some(7), ..none }),
            ("no number is stale", &["max-age=-1"], Directives { max_age: Some(0), ..none }),
            ("no value is stale", &["max-age"], Directives { max_age: Some(0), ..none }),
            ("too large", &["max-age=99999999999999999999999"], Directives { max_age: Some(u64::MAX), ..none }),
        ] {
            assert_eq!(read(values), want, "{name}");
        }
    }
}

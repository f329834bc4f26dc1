//! Which names a model goes by: patterns with `*`, and dates at the end.

/// A pattern in which `*` stands for any text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Glob(Box<str>);

impl Glob {
    /// Most stars in one pattern.
    const STARS_MAX: usize = 4;

    /// `None`: no pattern, or too many stars.
    pub(super) fn new(text: &str) -> Option<Self> {
        let stars = text.matches('*').count();
        let literal = text.len().saturating_sub(stars);
        (literal > 0 && stars <= Self::STARS_MAX).then(|| Self(text.into()))
    }

    pub(super) fn text(&self) -> &str {
        &self.0
    }

    /// What stands before the first star.
    pub(super) fn start(&self) -> &str {
        self.0.split_once('*').map_or(&*self.0, |(start, _)| start)
    }

    /// How many bytes of it are literal: the more, the closer it describes.
    pub(super) fn literal_len(&self) -> usize {
        self.0.bytes().filter(|byte| *byte != b'*').count()
    }

    pub(super) fn matches(&self, name: &str) -> bool {
        let Some((first, rest)) = self.0.split_once('*') else {
            return *self.0 == *name;
        };
        let Some(mut name) = name.strip_prefix(first) else {
            return false;
        };
        let (middle, last) = rest.rsplit_once('*').unwrap_or(("", rest));
        for part in middle.split('*').filter(|part| !part.is_empty()) {
            let Some((_, after)) = name.split_once(part) else {
                return false;
            };
            name = after;
        }
        name.ends_with(last)
    }
}

/// The name without `-YYYYMMDD` or `-YYYY-MM-DD` at its end.
pub(super) fn without_date(name: &str) -> Option<&str> {
    let (before, last) = name.rsplit_once('-')?;
    if is_digits(last, 8) {
        return Some(before);
    }
    let (before, month) = before.rsplit_once('-')?;
    let (before, year) = before.rsplit_once('-')?;
    (is_digits(last, 2) && is_digits(month, 2) && is_digits(year, 4)).then_some(before)
}

fn is_digits(text: &str, len: usize) -> bool {
    text.len() == len && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_text() {
        for (pattern, name, want) in [
            ("gpt-5-*", "gpt-5-mini", true),
            ("gpt-5-*", "gpt-5", false),
            ("gpt-5*", "gpt-5", true),
            ("*-mini", "gpt-5-mini", true),
            ("*-mini", "gpt-5-mini-2", false),
            ("a*b*c", "axxbxxc", true),
            ("a*b*c", "axxc", false),
            ("ab*ba", "aba", false),
            ("Gpt*", "gpt", false),
        ] {
            let glob = Glob::new(pattern).unwrap();
            assert_eq!(glob.matches(name), want, "{pattern} {name}");
        }
        assert_eq!(Glob::new("*"), None);
        assert_eq!(Glob::new("a*b*c*d*e*f"), None);
    }

    #[test]
    fn dates_are_taken_from_the_end() {
        for (name, want) in [
            ("gpt-5-2026-03-05", Some("gpt-5")),
            ("claude-9-20260305", Some("claude-9")),
            ("claude-9-2026035", None),
            ("gpt-5-26-03-05", None),
            ("gpt-5", None),
        ] {
            assert_eq!(without_date(name), want, "{name}");
        }
    }
}

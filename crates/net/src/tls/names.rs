//! Server names, and which of them a certificate is for.

/// The names a certificate is served for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct ServedNames(Vec<String>);

impl ServedNames {
    /// Names in lower case; `*.` before one stands for one label.
    pub(crate) fn new(names: Vec<String>) -> Self {
        Self(names)
    }

    /// Whether `name` (lower case) is one of them.
    pub(crate) fn cover(&self, name: &str) -> bool {
        self.0.iter().any(|served| {
            served == name
                || served.strip_prefix('*').is_some_and(|parent| {
                    let label = name.strip_suffix(parent).unwrap_or_default();
                    !label.is_empty() && !label.contains('.')
                })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // EDGE-13
    #[test]
    fn a_wildcard_stands_for_one_label() {
        let names = ["api.example.com", "*.example.org"].map(str::to_owned);
        let names = ServedNames::new(names.to_vec());
        for (name, want) in [
            ("api.example.com", true),
            ("example.com", false),
            ("x.api.example.com", false),
            ("a.example.org", true),
            ("a.b.example.org", false),
            ("example.org", false),
            (".example.org", false),
            ("aexample.org", false),
            ("", false),
        ] {
            assert_eq!(names.cover(name), want, "{name}");
        }
    }
}

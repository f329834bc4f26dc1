//! Names that are refused before anybody is asked about them.

/// Names of the local machine, the local network and of metadata services (most have a single
/// label), and whole zones that never lead to a public address (RFC 6761, 6762, 7686, 8375, and
/// ICANN's `internal`).
pub(super) fn is_refused(name: &str) -> bool {
    const ZONES: [&str; 5] = ["localhost", "local", "internal", "home.arpa", "onion"];
    let is_in = |zone: &&str| {
        name.strip_suffix(*zone)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    !name.contains('.') || ZONES.iter().any(is_in)
}

#[cfg(test)]
mod tests {
    use super::*;

    // EDGE-96
    #[test]
    fn local_names_are_refused_and_their_likes_are_not() {
        for name in [
            "localhost",
            "a.localhost",
            "printer.local",
            "db.internal",
            "metadata.google.internal",
            "nas.home.arpa",
            "home.arpa",
            "abc.onion",
            "metadata",
            "instance-data",
            "redis",
        ] {
            assert!(is_refused(name), "{name}");
        }
        for name in [
            "localhost.example.com",
            "mylocalhost.com",
            "thelocal.com",
            "notlocal.xlocal",
            "internal.example.com",
            "xhome.arpa",
            "onion.example",
        ] {
            assert!(!is_refused(name), "{name}");
        }
    }
}

//! Which licences the product may be built from.

use super::graph::Graph;
use crate::finding::Finding;

/// Permissive and compatible with both of ours. The last four are named by data or by code the
/// product will carry: web roots (CDLA), notify and secp256k1 (CC0), Unicode tables, the hash that
/// redis-rs has (BSL).
const ALLOWED: &[&str] = &[
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "MIT",
    "MIT-0",
    "Zlib",
    "CDLA-Permissive-2.0",
    "CC0-1.0",
    "Unicode-3.0",
    "BSL-1.0",
];

pub(super) fn check(graph: &Graph) -> Vec<Finding> {
    let external = graph.packages.values().filter(|package| package.external);
    let refused = external.filter(|package| !allowed(&package.licence));
    refused
        .map(|package| {
            let message = format!(
                "`{} {}` is under `{}`",
                package.name, package.version, package.licence
            );
            Finding::new("Cargo.lock", 1, "licence", message)
        })
        .collect()
}

/// Whether an SPDX expression can be met with allowed licences. The old `MIT/Apache-2.0` means OR.
fn allowed(expression: &str) -> bool {
    let spaced = expression
        .replace('(', " ( ")
        .replace(')', " ) ")
        .replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    either(&mut rest) && rest.is_empty()
}

fn either(rest: &mut &[&str]) -> bool {
    let mut ok = both(rest);
    while let Some(after) = rest.strip_prefix(&["OR"]) {
        *rest = after;
        ok |= both(rest);
    }
    ok
}

fn both(rest: &mut &[&str]) -> bool {
    let mut ok = one(rest);
    while let Some(after) = rest.strip_prefix(&["AND"]) {
        *rest = after;
        ok &= one(rest);
    }
    ok
}

fn one(rest: &mut &[&str]) -> bool {
    match *rest {
        ["(", after @ ..] => {
            *rest = after;
            let ok = either(rest);
            let Some(after) = rest.strip_prefix(&[")"]) else {
                return false;
            };
            *rest = after;
            ok
        }
        [licence, "WITH", exception, after @ ..] => {
            *rest = after;
            ALLOWED.contains(&format!("{licence} WITH {exception}").as_str())
        }
        [licence, after @ ..] => {
            *rest = after;
            ALLOWED.contains(licence)
        }
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::allowed;

    #[test]
    fn expressions_are_met_or_not() {
        for (expression, want) in [
            ("MIT", true),
            ("MIT OR Apache-2.0", true),
            ("MIT/Apache-2.0", true),
            ("GPL-3.0 OR MIT", true),
            ("GPL-3.0 AND MIT", false),
            ("ISC AND (GPL-2.0 OR ISC)", true),
            ("ISC AND (GPL-2.0 OR AGPL-3.0)", false),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("GPL-2.0 WITH Classpath-exception-2.0", false),
            ("", false),
            ("(MIT", false),
            ("MIT MIT", false),
        ] {
            assert_eq!(allowed(expression), want, "{expression}");
        }
    }
}

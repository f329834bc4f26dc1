//! Types that prove something was done: nobody else makes one, and none is spent twice.

use crate::finding::Finding;
use crate::repo::Repo;
use crate::source::Source;

/// The type and the folder of its crate.
const PROOFS: &[(&str, &str)] = &[("VettedAddr", "crates/policy/src/")];

/// What would let a proof be copied or made from nothing.
const MAKERS: &[&str] = &["Clone", "Copy", "Default", "Deserialize"];

pub(super) fn check(repo: &Repo) -> Vec<Finding> {
    PROOFS
        .iter()
        .flat_map(|(name, folder)| check_proof(repo, name, folder))
        .collect()
}

fn check_proof(repo: &Repo, name: &str, folder: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut declared = false;
    let sources = repo
        .sources
        .iter()
        .filter(|source| source.path.starts_with(folder));
    for source in sources {
        for at in source.find_word(&format!("struct {name}")) {
            declared = true;
            check_struct(source, name, at, &mut findings);
        }
        check_impls(source, name, &mut findings);
    }
    if !declared {
        findings.push(Finding::new(
            folder,
            1,
            "proof",
            format!("`{name}` is listed in xtask and declared nowhere"),
        ));
    }
    findings
}

fn check_struct(source: &Source, name: &str, at: usize, findings: &mut Vec<Finding>) {
    let before = source.code.get(..at).unwrap_or("");
    let attributes = before.rsplit([';', '}']).next().unwrap_or("");
    let rest = source.code.get(at..).unwrap_or("");
    let end = match (rest.find('{'), rest.find(';')) {
        (Some(open), semicolon) if semicolon.is_none_or(|n| open < n) => rest.find('}'),
        (_, semicolon) => semicolon,
    };
    let fields = rest.get(..end.unwrap_or(rest.len())).unwrap_or("");
    let line = source.line_of(at);
    for maker in MAKERS.iter().filter(|maker| attributes.contains(**maker)) {
        findings.push(Finding::new(
            &source.path,
            line,
            "proof",
            format!("`{name}` derives `{maker}`"),
        ));
    }
    if fields.contains("pub ") || fields.contains("pub(") {
        findings.push(Finding::new(
            &source.path,
            line,
            "proof",
            format!("`{name}` has a field others can set"),
        ));
    }
}

fn check_impls(source: &Source, name: &str, findings: &mut Vec<Finding>) {
    for maker in MAKERS.iter().copied().chain(["From<"]) {
        for (at, _) in source.code.match_indices(maker) {
            let line = line_at(&source.code, at);
            if line.trim_start().starts_with("impl") && line.contains(&format!("for {name} ")) {
                let message = format!("`{name}` implements `{}`", maker.trim_end_matches('<'));
                findings.push(Finding::new(
                    &source.path,
                    source.line_of(at),
                    "proof",
                    message,
                ));
            }
        }
    }
    for at in source.find_word(&format!("impl {name}")) {
        let Some((_, end)) = source.body_after(at) else {
            continue;
        };
        for function in source
            .functions
            .iter()
            .filter(|function| (at..end).contains(&function.bytes.start))
        {
            let public = line_at(&source.code, function.bytes.start)
                .trim_start()
                .starts_with("pub fn");
            let signature = source
                .code
                .get(function.bytes.start..function.body)
                .unwrap_or("");
            let answer = signature.rsplit_once("->").map_or("", |(_, answer)| answer);
            if public && (answer.contains("Self") || answer.contains(name)) {
                let message = format!("`{name}::{}` is a public maker", function.name);
                findings.push(Finding::new(
                    &source.path,
                    source.line_of(function.bytes.start),
                    "proof",
                    message,
                ));
            }
        }
    }
}

/// The whole line around a byte.
fn line_at(text: &str, at: usize) -> &str {
    let start = text
        .get(..at)
        .and_then(|before| before.rfind('\n'))
        .map_or(0, |n| n.saturating_add(1));
    text.get(start..)
        .and_then(|rest| rest.lines().next())
        .unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_that_can_be_forged_is_found() {
        for (name, text, want) in [
            (
                "sound",
                "#[derive(Debug)]\npub struct VettedAddr(SocketAddr);",
                0,
            ),
            (
                "sound with an accessor",
                "pub struct VettedAddr(u8);\nimpl VettedAddr {\n  pub fn addr(&self) -> u8 { self.0 }\n}",
                0,
            ),
            (
                "derived copy",
                "#[derive(Clone, Debug)]\npub struct VettedAddr(SocketAddr);",
                1,
            ),
            (
                "written copy",
                "pub struct VettedAddr(u8);\nimpl Clone for VettedAddr {}",
                1,
            ),
            (
                "made from anything",
                "pub struct VettedAddr(u8);\nimpl From<u8> for VettedAddr {}",
                1,
            ),
            ("open field", "pub struct VettedAddr { pub addr: u8 }", 1),
            ("open tuple field", "pub struct VettedAddr(pub u8);", 1),
            (
                "public maker",
                "pub struct VettedAddr(u8);\nimpl VettedAddr {\n  pub fn new() -> Self { Self(1) }\n}",
                1,
            ),
            (
                "another's maker",
                "pub struct VettedAddr(u8);\nimpl VettedAddr {}\nimpl Other {\n  pub fn new() -> Self { Self(1) }\n}",
                0,
            ),
            ("gone", "pub struct Renamed(u8);", 1),
        ] {
            let found = check(&Repo::of_texts(&[("crates/policy/src/egress.rs", text)]));
            assert_eq!(found.len(), want, "{name}: {found:?}");
        }
    }
}

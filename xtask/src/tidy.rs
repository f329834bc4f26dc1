//! The rules no compiler knows. Each file below is one table and the scan that holds it.

pub(crate) mod graph;
mod licences;
mod proofs;
mod shape;
mod texts;
mod words;

use crate::finding::Finding;
use crate::repo::Repo;
use graph::Graph;

/// Every finding, in the order of files and lines.
pub(crate) fn check(repo: &Repo, graph: &Graph) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(graph.check());
    findings.extend(licences::check(graph));
    findings.extend(words::check(repo));
    findings.extend(shape::check(repo));
    findings.extend(proofs::check(repo));
    findings.extend(texts::check(repo));
    findings.sort();
    findings.dedup();
    findings
}

//! Reads `cargo metadata` into the graph of what is really built.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context as _;
use serde_json::Value;

use super::{Graph, Kind, Package};

#[expect(
    clippy::disallowed_methods,
    reason = "asks cargo for the resolved graph"
)]
pub(super) fn metadata(root: &Path) -> anyhow::Result<Value> {
    let out = std::process::Command::new("cargo")
        .args(["metadata", "--format-version=1", "--offline", "--locked"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(root)
        .output()?;
    anyhow::ensure!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    serde_json::from_slice(&out.stdout).context("not JSON")
}

/// The packages that the members reach. Cargo also lists optional packages that a feature only
/// mentions (`ring?/std`); those are left out, as the compiler never sees them.
pub(super) fn graph(metadata: &Value, root: &Path) -> Option<Graph> {
    let mut described = BTreeMap::new();
    for package in metadata.get("packages")?.as_array()? {
        described.insert(package.get("id")?.as_str()?, package);
    }
    let mut packages = BTreeMap::new();
    for node in metadata.pointer("/resolve/nodes")?.as_array()? {
        let id = node.get("id")?.as_str()?;
        let package = described.get(id)?;
        packages.insert(
            id.to_owned(),
            Package {
                features: node.get("features").map(names_of).unwrap_or_default(),
                ..read_package(package, links(node, package, &described)?, root)?
            },
        );
    }
    let members: BTreeSet<String> = strings(metadata.get("workspace_members")?)
        .map(str::to_owned)
        .collect();
    let mut reached = BTreeSet::new();
    let mut todo: Vec<String> = members.iter().cloned().collect();
    while let Some(id) = todo.pop() {
        if let Some(package) = packages.get(&id) {
            todo.extend(
                package
                    .links
                    .iter()
                    .map(|(id, _)| id.clone())
                    .filter(|id| !reached.contains(id)),
            );
        }
        reached.insert(id);
    }
    packages.retain(|id, _| reached.contains(id));
    Some(Graph { packages, members })
}

fn read_package(package: &Value, links: Vec<(String, Kind)>, root: &Path) -> Option<Package> {
    let text = |key: &str| {
        package
            .get(key)
            .and_then(Value::as_str)
            .unwrap_or("")
            .to_owned()
    };
    let declared = package.get("dependencies")?.as_array()?;
    let manifest = text("manifest_path");
    let inside = Path::new(&manifest)
        .strip_prefix(root)
        .ok()
        .and_then(Path::to_str);
    Some(Package {
        name: text("name"),
        version: text("version"),
        licence: text("license"),
        external: package.get("source").is_some_and(Value::is_string),
        manifest: inside.map_or_else(|| manifest.clone(), str::to_owned),
        proc_macro: package
            .get("targets")?
            .to_string()
            .contains("\"proc-macro\""),
        declared: declared
            .iter()
            .filter_map(|d| Some((name(d)?.to_owned(), kind(d))))
            .collect(),
        links,
        features: Vec::new(),
    })
}

fn names_of(list: &Value) -> Vec<String> {
    strings(list).map(str::to_owned).collect()
}

/// The resolved dependencies of a package that its features switch on.
fn links(
    node: &Value,
    package: &Value,
    described: &BTreeMap<&str, &Value>,
) -> Option<Vec<(String, Kind)>> {
    let mut links = Vec::new();
    for dependency in node.get("deps")?.as_array()? {
        let id = dependency.get("pkg")?.as_str()?;
        let to = described.get(id).and_then(|package| name(package))?;
        for how in dependency.get("dep_kinds")?.as_array()? {
            if is_on(node, package, to, kind(how)) {
                links.push((id.to_owned(), kind(how)));
            }
        }
    }
    Some(links)
}

/// Whether a package depends on another outright, or by a feature that is on.
fn is_on(node: &Value, package: &Value, to: &str, how: Kind) -> bool {
    let declared = package
        .get("dependencies")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    declared
        .filter(|d| name(d) == Some(to) && kind(d) == how)
        .any(|d| {
            let optional = d.get("optional").and_then(Value::as_bool) == Some(true);
            let key = d.get("rename").and_then(Value::as_str).unwrap_or(to);
            !optional
                || node
                    .get("features")
                    .is_some_and(|on| strings(on).any(|feature| names(package, feature, key)))
        })
}

/// Whether a feature of a package switches on the optional dependency `key`. A weak mention
/// (`key?/feature`) does not.
fn names(package: &Value, feature: &str, key: &str) -> bool {
    let Some(values) = package
        .get("features")
        .and_then(|features| features.get(feature))
    else {
        return false;
    };
    strings(values).any(|value| {
        value.strip_prefix("dep:") == Some(key)
            || value.split_once('/').is_some_and(|(d, _)| d == key)
    })
}

fn name(value: &Value) -> Option<&str> {
    value.get("name").and_then(Value::as_str)
}

fn kind(value: &Value) -> Kind {
    match value.get("kind").and_then(Value::as_str) {
        Some("dev") => Kind::Dev,
        Some("build") => Kind::Build,
        _ => Kind::Normal,
    }
}

fn strings(value: &Value) -> impl Iterator<Item = &str> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

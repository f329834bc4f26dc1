//! What depends on what: arrows between our crates, what pure crates may not reach, who owns an
//! external crate, what the product must not link, and what it may link only once.

mod resolve;
mod rules;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context as _;

use crate::finding::Finding;

/// The resolved Linux graph, with the features of the whole workspace.
pub(crate) struct Graph {
    /// Every package that is built on Linux, by id.
    pub(super) packages: BTreeMap<String, Package>,
    /// Ids of the packages of this repository.
    members: BTreeSet<String>,
}

pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    pub(super) licence: String,
    pub(super) external: bool,
    manifest: String,
    proc_macro: bool,
    /// As declared: name, kind.
    declared: Vec<(String, Kind)>,
    /// As resolved: ids of what it is built with, and how.
    links: Vec<(String, Kind)>,
    features: Vec<String>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Normal,
    Build,
    Dev,
}

impl Graph {
    /// Asks cargo, without the network and without touching the lock file.
    pub(crate) fn read(root: &Path) -> anyhow::Result<Self> {
        let metadata = resolve::metadata(root)?;
        resolve::graph(&metadata, root).context("unexpected shape")
    }

    /// How many crates are resolved.
    pub(crate) fn linked(&self) -> usize {
        self.packages.len()
    }

    pub(super) fn check(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for id in &self.members {
            let Some(package) = self.packages.get(id) else {
                continue;
            };
            self.check_arrows(package, &mut findings);
            check_owners(package, &mut findings);
            self.check_closure(id, package, &mut findings);
        }
        self.check_bans(&mut findings);
        findings
    }

    fn check_arrows(&self, package: &Package, findings: &mut Vec<Finding>) {
        let name = short(&package.name);
        let Some((_, allowed)) = rules::ARROWS.iter().find(|(from, _)| *from == name) else {
            findings.push(package.finding(
                "arrow",
                format!("crate `{name}` is not in the table of arrows"),
            ));
            return;
        };
        let ours: BTreeSet<&str> = self
            .members
            .iter()
            .filter_map(|id| self.packages.get(id))
            .map(|p| p.name.as_str())
            .collect();
        for (dependency, kind) in package
            .declared
            .iter()
            .filter(|(name, _)| ours.contains(name.as_str()))
        {
            let to = short(dependency);
            if *kind == Kind::Dev {
                continue;
            }
            if to == "testkit" {
                findings.push(package.finding("arrow", "`testkit` is a dev-dependency only"));
            } else if !allowed.contains(&to) {
                findings.push(package.finding("arrow", format!("`{name}` must not name `{to}`")));
            }
        }
    }

    fn check_closure(&self, id: &str, package: &Package, findings: &mut Vec<Finding>) {
        let name = short(&package.name);
        for purity in rules::PURE.iter().filter(|row| row.crates.contains(&name)) {
            for (reached, path) in self.closure(id) {
                if purity.without.contains(&reached.as_str()) {
                    let message = format!("`{name}` reaches `{reached}` ({path}): {}", purity.why);
                    findings.push(package.finding("pure", message));
                }
            }
        }
    }

    fn check_bans(&self, findings: &mut Vec<Finding>) {
        let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for package in self.packages.values() {
            versions
                .entry(&package.name)
                .or_default()
                .insert(&package.version);
        }
        for (name, why) in rules::BANNED {
            if versions.contains_key(name) {
                findings.push(Finding::new(
                    "Cargo.lock",
                    1,
                    "banned",
                    format!("`{name}` is linked on Linux: {why}"),
                ));
            }
        }
        for (name, feature, why) in rules::SWITCHED_OFF {
            let mut of_name = self.packages.values().filter(|it| it.name == *name);
            if of_name.any(|it| it.features.iter().any(|on| on == feature)) {
                let message = format!("`{name}` is linked with `{feature}`: {why}");
                findings.push(Finding::new("Cargo.lock", 1, "feature", message));
            }
        }
        for name in rules::ONCE {
            let found = versions
                .get(name)
                .into_iter()
                .flatten()
                .copied()
                .collect::<Vec<_>>();
            if found.len() > 1 {
                findings.push(Finding::new(
                    "Cargo.lock",
                    1,
                    "twice",
                    format!("`{name}` {}", found.join(" and ")),
                ));
            }
        }
    }

    /// Names of all that is linked into a package, each with the way there. Procedural macros are
    /// named but not entered: what they use runs in the compiler.
    fn closure(&self, root: &str) -> BTreeMap<String, String> {
        let mut reached = BTreeMap::new();
        let mut todo = vec![(root.to_owned(), String::new())];
        let mut seen = BTreeSet::new();
        while let Some((id, path)) = todo.pop() {
            let Some(package) = self.packages.get(&id) else {
                continue;
            };
            if !seen.insert(id) {
                continue;
            }
            let path = if path.is_empty() {
                package.name.clone()
            } else {
                format!("{path} > {}", package.name)
            };
            if !package.proc_macro {
                let linked = package
                    .links
                    .iter()
                    .filter(|(_, kind)| *kind == Kind::Normal);
                todo.extend(linked.map(|(id, _)| (id.clone(), path.clone())));
            }
            reached.insert(package.name.clone(), path);
        }
        reached
    }
}

impl Package {
    fn finding(&self, rule: &'static str, message: impl Into<String>) -> Finding {
        Finding::new(&self.manifest, 1, rule, message)
    }
}

fn check_owners(package: &Package, findings: &mut Vec<Finding>) {
    let name = short(&package.name);
    for (dependency, kind) in &package.declared {
        let row = rules::OWNERS
            .iter()
            .find(|(external, _)| external == dependency);
        let Some((_, owners)) = row else { continue };
        if *kind != Kind::Dev && !owners.contains(&name) {
            let message = format!("only {} may depend on `{dependency}`", owners.join(", "));
            findings.push(package.finding("owner", message));
        }
    }
}

fn short(name: &str) -> &str {
    name.strip_prefix("tollkeep-").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A graph from `name: dependency dependency~dev dependency~off; …` (`~off`: optional and not
    /// switched on). What is only depended on is added; ours are those called `tollkeep-…`.
    fn graph(text: &str) -> Graph {
        let mut declared: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for row in text.split(';') {
            let (name, dependencies) = row.split_once(':').unwrap();
            for dependency in dependencies.split_whitespace() {
                declared
                    .entry(dependency.split('~').next().unwrap())
                    .or_default();
            }
            declared
                .entry(name.trim())
                .or_default()
                .extend(dependencies.split_whitespace());
        }
        let mut packages = Vec::new();
        let mut nodes = Vec::new();
        for (id, dependencies) in &declared {
            let (name, version) = id.split_once('@').unwrap_or((id, "1.0.0"));
            let mut deps = Vec::new();
            let mut names = Vec::new();
            for dependency in dependencies {
                let (to, how) = dependency.split_once('~').unwrap_or((dependency, ""));
                let kind = (how == "dev").then_some("dev");
                deps.push(json!({"pkg": to, "dep_kinds": [{"kind": kind}]}));
                let to = to.split('@').next().unwrap();
                names.push(json!({"name": to, "kind": kind, "optional": how == "off"}));
            }
            let source = (!name.starts_with("tollkeep-")).then_some("registry");
            packages.push(json!({"id": id, "name": name, "version": version, "license": "MIT", "source": source,
                "manifest_path": format!("/r/{name}/Cargo.toml"), "dependencies": names, "targets": [],
                "features": {"std": ["ring?/std"]}}));
            nodes.push(json!({"id": id, "deps": deps, "features": ["std"]}));
        }
        let members: Vec<_> = declared
            .keys()
            .filter(|name| name.starts_with("tollkeep-"))
            .collect();
        let value = json!({"packages": packages, "workspace_members": members, "resolve": {"nodes": nodes}});
        resolve::graph(&value, Path::new("/r")).unwrap()
    }

    // LED-100
    #[test]
    fn each_rule_of_the_graph_bites() {
        for (name, text, want) in [
            ("an arrow down", "tollkeep-policy: tollkeep-types", vec![]),
            (
                "an arrow up",
                "tollkeep-policy: tollkeep-gateway",
                vec!["arrow"],
            ),
            (
                "an arrow across",
                "tollkeep-admin: tollkeep-gateway",
                vec!["arrow"],
            ),
            ("a stranger", "tollkeep-new:", vec!["arrow"]),
            (
                "testkit linked",
                "tollkeep-gateway: tollkeep-testkit",
                vec!["arrow"],
            ),
            (
                "testkit in tests",
                "tollkeep-gateway: tollkeep-testkit~dev",
                vec![],
            ),
            ("SQL elsewhere", "tollkeep-admin: sqlx", vec!["owner"]),
            ("SQL at home", "tollkeep-store: sqlx", vec![]),
            (
                "a clock far below",
                "tollkeep-policy: good; good: tokio",
                vec!["pure"],
            ),
            (
                "a runtime under the ledger",
                "tollkeep-ledger: good; good: tokio",
                vec!["pure"],
            ),
            (
                "a clock by a feature",
                "tollkeep-ledger: jiff",
                vec!["feature"],
            ),
            ("a clock in tests", "tollkeep-policy: tokio~dev", vec![]),
            ("a second TLS", "tollkeep-net: ring", vec!["banned"]),
            (
                "a second TLS nobody switched on",
                "tollkeep-net: ring~off",
                vec![],
            ),
            (
                "two runtimes",
                "tollkeep-net: tokio@1.0.0 tokio@2.0.0",
                vec!["twice"],
            ),
            ("not in the product", "other: ring", vec![]),
        ] {
            let rules: Vec<_> = graph(text)
                .check()
                .iter()
                .map(|finding| finding.rule)
                .collect();
            assert_eq!(rules, want, "{name}");
        }
    }
}

//! The files of the repository: what git tracks or would add, read once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::source::Source;

/// Larger files are data, not texts anybody reads line by line.
const TEXT_BYTES_MAX: u64 = 1 << 20;

pub(crate) struct Repo {
    pub(crate) root: PathBuf,
    /// Every file, relative to the root.
    pub(crate) names: BTreeSet<String>,
    /// Those that are texts.
    pub(crate) texts: BTreeMap<String, String>,
    /// The Rust files among them.
    pub(crate) sources: Vec<Source>,
}

impl Repo {
    /// Reads the repository this tool was built from.
    pub(crate) fn read() -> anyhow::Result<Self> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = here
            .parent()
            .context("xtask stands in the repository")?
            .to_owned();
        let mut texts = BTreeMap::new();
        let mut names = BTreeSet::new();
        for name in list(&root)? {
            let path = root.join(&name);
            // Listed but deleted in the work tree, or a link: nothing to read.
            let Ok(meta) = path.symlink_metadata() else {
                continue;
            };
            if !meta.is_file() {
                continue;
            }
            if meta.len() <= TEXT_BYTES_MAX
                && let Ok(text) = std::fs::read_to_string(&path)
            {
                texts.insert(name.clone(), text);
            }
            names.insert(name);
        }
        Ok(Self::of(root, names, texts))
    }

    fn of(root: PathBuf, names: BTreeSet<String>, texts: BTreeMap<String, String>) -> Self {
        let mut sources: Vec<Source> = texts
            .iter()
            .filter(|(name, _)| name.ends_with(".rs"))
            .map(|(name, text)| Source::read(name, text))
            .collect();
        let outside: BTreeSet<String> = sources.iter().flat_map(Source::test_files).collect();
        for source in &mut sources {
            if outside.contains(&source.path) {
                source.all_test();
            }
        }
        Self {
            root,
            names,
            texts,
            sources,
        }
    }

    /// A repository of made-up files, for tests of the rules.
    #[cfg(test)]
    pub(crate) fn of_texts(files: &[(&str, &str)]) -> Self {
        let texts: BTreeMap<String, String> = files
            .iter()
            .map(|(name, text)| ((*name).to_owned(), (*text).to_owned()))
            .collect();
        Self::of(PathBuf::new(), texts.keys().cloned().collect(), texts)
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "asks git which files belong to the repository"
)]
fn list(root: &Path) -> anyhow::Result<Vec<String>> {
    let out = std::process::Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root)
        .output()
        .context("git ls-files")?;
    anyhow::ensure!(
        out.status.success(),
        "git ls-files: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    let text = String::from_utf8(out.stdout).context("a file name is not UTF-8")?;
    Ok(text
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect())
}

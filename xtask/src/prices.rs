//! Makes the price table that is shipped, from two sources that must agree.
//!
//! Prices are those of genai-prices; a model is taken only if the price file of LiteLLM says the
//! same within a thousandth, or a decision in `prices/decisions.toml` says who is right. What was
//! not taken, and why, stands in `prices/differences.md`.
#![expect(
    clippy::indexing_slicing,
    clippy::let_underscore_must_use,
    clippy::wildcard_enum_match_arm,
    reason = "a tool: values of JSON are looked up by name, and text takes all that is written"
)]

mod convert;
mod decide;
mod money;

use crate::repo::Repo;
use anyhow::Context as _;
use convert::Taken;
use decide::Decisions;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// A provider: our kind, its name in genai-prices, and how its models begin in LiteLLM.
pub(crate) struct Family {
    pub(crate) kind: &'static str,
    pub(crate) genai: &'static str,
    pub(crate) litellm: &'static str,
    pub(crate) prefix: &'static str,
}

const FAMILIES: [Family; 14] = [
    family("anthropic", "anthropic", "anthropic", ""),
    family("azure-openai", "azure", "azure", "azure/"),
    family("cerebras", "cerebras", "cerebras", "cerebras/"),
    family("deepseek", "deepseek", "deepseek", "deepseek/"),
    family("fireworks", "fireworks", "fireworks_ai", "fireworks_ai/"),
    family("gemini", "google", "gemini", "gemini/"),
    family("groq", "groq", "groq", "groq/"),
    family("mistral", "mistral", "mistral", "mistral/"),
    family("openai", "openai", "openai", ""),
    family("openai", "openai", "text-completion-openai", ""),
    family("openrouter", "openrouter", "openrouter", "openrouter/"),
    family("perplexity", "perplexity", "perplexity", "perplexity/"),
    family("together", "together", "together_ai", "together_ai/"),
    family("xai", "x-ai", "xai", "xai/"),
];

const fn family(
    kind: &'static str,
    genai: &'static str,
    litellm: &'static str,
    prefix: &'static str,
) -> Family {
    Family {
        kind,
        genai,
        litellm,
        prefix,
    }
}

/// What became of the models of both sources.
#[derive(Default)]
struct Outcome {
    models: Vec<Value>,
    /// Kind, model, why it was not taken.
    left_out: Vec<(&'static str, String, String)>,
    /// Kind, model, why it was taken though the sources differ.
    decided: Vec<(&'static str, String, String)>,
    alone: BTreeMap<&'static str, usize>,
}

/// Writes the table and the report. `sources` has what `prices/extract.py` wrote.
pub(crate) fn run(repo: &Repo, sources: &Path, version: &str) -> anyhow::Result<String> {
    let genai = read(&sources.join("genai-prices.json"))?;
    let litellm = read(&sources.join("litellm.json"))?;
    let folder = repo.root.join("prices");
    let decisions = std::fs::read_to_string(folder.join("decisions.toml"))?;
    let decisions = Decisions::read(&decisions).context("prices/decisions.toml")?;
    let own = read(&folder.join("own.json"))?;
    let mut outcome = Outcome::default();
    let providers = genai["providers"].as_array().context("no providers")?;
    for family in &FAMILIES {
        let theirs = convert::of_family(&litellm["models"], family);
        let models = providers
            .iter()
            .find(|provider| provider["id"] == family.genai);
        for model in models
            .and_then(|provider| provider["models"].as_array())
            .into_iter()
            .flatten()
        {
            outcome.take(family, model, &theirs, &decisions);
        }
    }
    outcome
        .models
        .extend(own.as_array().cloned().unwrap_or_default());
    outcome.models.sort_by_key(|model| {
        let text = |name: &str| model[name].as_str().unwrap_or_default().to_owned();
        (text("provider"), text("model"))
    });
    let versions = [
        ("genai-prices", &genai["version"]),
        ("litellm", &litellm["version"]),
    ];
    let date = version.split('.').next().unwrap_or_default();
    let sources = versions.map(|(name, version)| json!({"name": name, "version": version}));
    std::fs::write(
        folder.join("table.json"),
        document(version, date, &sources, &outcome.models),
    )?;
    std::fs::write(folder.join("differences.md"), report(&outcome, &versions))?;
    let (taken, left) = (outcome.models.len(), outcome.left_out.len());
    Ok(format!("{taken} models taken, {left} left out"))
}

fn read(path: &Path) -> anyhow::Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Ok(serde_json::from_str(&text)?)
}

impl Outcome {
    fn take(
        &mut self,
        family: &Family,
        model: &Value,
        theirs: &BTreeMap<&str, &Value>,
        decisions: &Decisions,
    ) {
        let name = model["id"].as_str().unwrap_or_default().to_owned();
        let known = |known: &&Value| known["provider"] == family.kind && known["model"] == *name;
        if self.models.iter().any(|model| known(&model)) {
            return;
        }
        match convert::model(family, model, theirs, decisions) {
            Ok(Taken { model, decided }) => {
                // Names that differ in spelling only are one model to the first that has them.
                self.models.push(model);
                if let Some(why) = decided {
                    self.decided.push((family.kind, name, why));
                }
            }
            Err(None) => *self.alone.entry(family.kind).or_default() += 1,
            Err(Some(why)) => self.left_out.push((family.kind, name, why)),
        }
    }
}

/// One model a line, so that differences can be read.
fn document(version: &str, date: &str, sources: &[Value], models: &[Value]) -> String {
    let mut text = format!(
        "{{\"format\":\"tollkeep-prices/1\",\"version\":\"{version}\",\"published_at\":\"{date}T00:00:00Z\",\
         \"sources\":{},\"models\":[\n",
        Value::from(sources)
    );
    for (at, model) in models.iter().enumerate() {
        let end = if at + 1 < models.len() { "," } else { "" };
        let _ = writeln!(text, "{model}{end}");
    }
    text + "]}\n"
}

fn report(outcome: &Outcome, versions: &[(&str, &Value); 2]) -> String {
    let mut text = String::from(
        "# Differences between the sources of prices\n\n\
         Written by `cargo xtask prices`. A model is shipped if both sources agree within 0.1 %, or \
         `decisions.toml` says which is right.\n\n",
    );
    for (name, version) in versions {
        let _ = writeln!(text, "- {name} {}", version.as_str().unwrap_or_default());
    }
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for model in &outcome.models {
        *kinds
            .entry(model["provider"].as_str().unwrap_or("any"))
            .or_default() += 1;
    }
    let _ = writeln!(text, "\n## Shipped: {}\n", outcome.models.len());
    for (kind, count) in &kinds {
        let _ = writeln!(text, "- {kind}: {count}");
    }
    text += "\n## Only in genai-prices, so not shipped\n\n";
    for (kind, count) in &outcome.alone {
        let _ = writeln!(text, "- {kind}: {count}");
    }
    for (title, list) in [
        ("Shipped by decision", &outcome.decided),
        ("Not shipped", &outcome.left_out),
    ] {
        let _ = writeln!(text, "\n## {title}: {}\n", list.len());
        text += "| provider | model | why |\n|---|---|---|\n";
        for (kind, model, why) in list {
            let _ = writeln!(text, "| {kind} | {model} | {why} |");
        }
    }
    text
}

//! What was decided where the sources differ: `prices/decisions.toml`, of which this reads tables
//! of texts only.

use std::collections::BTreeMap;

/// A decision about one model.
pub(super) struct Decision {
    pub(super) use_source: String,
    pub(super) page: String,
    pub(super) date: String,
}

pub(super) struct Decisions(BTreeMap<(String, String), Decision>);

impl Decisions {
    /// Every `[[decision]]` names provider, model, which source is right, its page and a date.
    pub(super) fn read(text: &str) -> anyhow::Result<Self> {
        let mut all = BTreeMap::new();
        let tables = text.split("[[decision]]").skip(1);
        for table in tables {
            let mut members = BTreeMap::new();
            for line in table.lines().map(str::trim) {
                if line.is_empty() || line.starts_with('#') {
                    continue;
                }
                let member = line.split_once(" = ").and_then(|(name, value)| {
                    let value = value.strip_prefix('"')?.strip_suffix('"')?;
                    Some((name, value.to_owned()))
                });
                let Some((name, value)) = member else {
                    anyhow::bail!("want `name = \"text\"`, not {line:?}");
                };
                members.insert(name, value);
            }
            let mut take = |name| {
                let value = members.remove(name);
                value.ok_or_else(|| anyhow::anyhow!("a decision has no `{name}`"))
            };
            let key = (take("provider")?, take("model")?);
            let decision = Decision {
                use_source: take("use")?,
                page: take("page")?,
                date: take("date")?,
            };
            if !matches!(&*decision.use_source, "genai-prices" | "litellm" | "none") {
                anyhow::bail!("`use` is `{}`", decision.use_source);
            }
            if let Some((other, _)) = members.first_key_value() {
                anyhow::bail!("`{other}` is not known");
            }
            all.insert(key, decision);
        }
        Ok(Self(all))
    }

    pub(super) fn of(&self, kind: &str, model: &str) -> Option<&Decision> {
        self.0.get(&(kind.to_owned(), model.to_owned()))
    }
}

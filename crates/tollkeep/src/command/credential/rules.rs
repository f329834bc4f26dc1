//! How a credential is used, as flags.

use super::super::token::Limits;
use clap::Args;
use serde_json::{Map, Value, json};

/// How a credential is used.
#[derive(Args, Debug)]
pub(super) struct Rules {
    /// Its name in lists
    #[arg(long)]
    label: Option<String>,
    /// A model it serves, `name` or `name=alias`; again for more; all of its provider if not given
    #[arg(long = "model", value_name = "NAME[=ALIAS]")]
    pub(super) models: Vec<String>,
    /// A glob of models it does not serve; again for more
    #[arg(long = "exclude", value_name = "GLOB")]
    excluded: Vec<String>,
    /// A field set on calls that go out with it; again for more
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = pair)]
    headers: Vec<(String, String)>,
    /// Higher is used first
    #[arg(long, allow_hyphen_values = true)]
    priority: Option<i64>,
    /// Share among those of one priority; 0 leaves it out
    #[arg(long)]
    weight: Option<u64>,
    /// Where its calls go, if not to its provider's own place; `none`: there again
    #[arg(long, value_name = "URL|none")]
    base_url: Option<String>,
    /// A proxy that its calls go through, or `none`
    #[arg(long, value_name = "URL|none")]
    egress_proxy: Option<String>,
    /// Calls for `WORD/model` go out with it alone, or `none`
    #[arg(long, value_name = "WORD|none")]
    prefix: Option<String>,
    #[command(flatten)]
    limits: Limits,
}

impl Rules {
    pub(super) fn body(&self) -> Map<String, Value> {
        let mut body = Map::new();
        let label = self.label.as_deref();
        body.extend(label.map(|label| ("label".to_owned(), label.into())));
        if !self.models.is_empty() {
            let models = self.models.iter().map(|text| match text.split_once('=') {
                Some((name, alias)) => json!({ "name": name, "alias": alias }),
                None => json!({ "name": text }),
            });
            body.insert("models".to_owned(), models.collect());
        }
        if !self.excluded.is_empty() {
            body.insert("excluded_models".to_owned(), json!(self.excluded));
        }
        if !self.headers.is_empty() {
            let headers = self
                .headers
                .iter()
                .map(|(name, value)| (name.clone(), value.as_str().into()));
            body.insert("headers".to_owned(), Value::Object(headers.collect()));
        }
        body.extend(self.priority.map(|it| ("priority".to_owned(), it.into())));
        body.extend(self.weight.map(|it| ("weight".to_owned(), it.into())));
        for (name, given) in [
            ("base_url", &self.base_url),
            ("egress_proxy", &self.egress_proxy),
            ("prefix", &self.prefix),
        ] {
            let value = |text: &str| match text {
                "none" => Value::Null,
                text => text.into(),
            };
            body.extend(given.as_deref().map(|text| (name.to_owned(), value(text))));
        }
        body.extend(
            self.limits
                .body()
                .map(|limits| ("limits".to_owned(), limits)),
        );
        body
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("want `NAME=VALUE`")?;
    Ok((name.to_owned(), value.to_owned()))
}

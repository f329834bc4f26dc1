//! Names of models, and what lists of models tell of them.

use super::Provider;
use crate::check::Checks;
use crate::field::{KindExt, listed};
use crate::kind::{maybe, parsed, text, whole};
use crate::reader::keys;
use crate::tree::KeyPath;
use tollkeep_types::WallMillis;

/// Most models of the catalogue.
const CATALOG_MAX: usize = 10_000;
/// Longest name of a model, and what people read for it, in bytes.
const NAME_BYTES_MAX: usize = 256;
/// Most tokens that can be meant.
const TOKENS_MAX: i64 = 1_000_000_000;

/// Model names.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Models {
    /// The model used when the name asked for is known nowhere; `None`: 404.
    pub default: Option<String>,
    /// What is known of models beyond what the price table says.
    pub catalog: Vec<CatalogModel>,
}

/// What an operator knows of a model.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CatalogModel {
    /// What its provider calls it.
    pub model: String,
    /// Its provider; `None`: any.
    pub provider: Option<String>,
    /// What people read.
    pub display_name: Option<String>,
    /// Tokens of input and output together.
    pub context_window: Option<u64>,
    /// Tokens of an answer.
    pub max_output_tokens: Option<u64>,
    /// Since when it is there.
    pub created: Option<WallMillis>,
}

keys! {
    /// Model names.
    pub(crate) struct ModelsFile {
        /// The model used when the name asked for is known nowhere; empty: 404.
        default: Option<String> = maybe(text()).or(None),
        catalog: Vec<CatalogFile> = listed(),
    }
}

keys! {
    /// What lists of models tell of one, where that is more or other than the price table says.
    /// What goes to providers, and what calls may cost, does not depend on it.
    pub(crate) struct CatalogFile {
        /// What its provider calls it.
        model: Option<String> = parsed("name of a model", read_name).required(),
        /// The provider's name; without it the entry holds for the model at any provider.
        provider: Option<String> = text().optional(),
        /// What people read instead of its name.
        display_name: Option<String> = parsed("name", read_name).optional(),
        /// Tokens of input that it takes.
        context_window: Option<u64> = whole(1..=TOKENS_MAX).optional(),
        /// Tokens of one answer.
        max_output_tokens: Option<u64> = whole(1..=TOKENS_MAX).optional(),
        /// Since when it is there: `2026-11-22`, or `2026-11-22T10:00:00Z`.
        created: Option<WallMillis> = parsed("date", read_date).optional(),
    }
}

fn read_name(text: &str) -> Result<String, String> {
    let fits = (1..=NAME_BYTES_MAX).contains(&text.len()) && !text.contains(char::is_control);
    if fits {
        Ok(text.to_owned())
    } else {
        Err(format!(
            "want 1 to {NAME_BYTES_MAX} bytes, none of them a control character"
        ))
    }
}

fn read_date(text: &str) -> Result<WallMillis, String> {
    let at = match text.len() {
        10 => format!("{text}T00:00:00Z").parse(),
        _ => text.parse(),
    };
    at.map_err(|_| "want a date as `2026-11-22`, or `2026-11-22T10:00:00Z`".to_owned())
}

impl ModelsFile {
    pub(super) fn check(self, providers: &[Provider], checks: &mut Checks<'_>) -> Models {
        let path = KeyPath::of("models.catalog");
        if self.catalog.len() > CATALOG_MAX {
            checks.error_at(&path, format!("has more than {CATALOG_MAX} models"));
        }
        let mut catalog: Vec<CatalogModel> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for (index, file) in self.catalog.into_iter().enumerate() {
            let path = path.index(index);
            if let Some(name) = &file.provider
                && !providers.iter().any(|provider| provider.name == *name)
            {
                let problem = format!("names `{name}`, and no provider has that name");
                checks.error_at(&path.name("provider"), problem);
            }
            let Some(model) = file.model else { continue };
            if !seen.insert((model.clone(), file.provider.clone())) {
                checks.error_at(&path.name("model"), "is there twice");
            }
            catalog.push(CatalogModel {
                model,
                provider: file.provider,
                display_name: file.display_name,
                context_window: file.context_window,
                max_output_tokens: file.max_output_tokens,
                created: file.created,
            });
        }
        Models {
            default: self.default,
            catalog,
        }
    }
}

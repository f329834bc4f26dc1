//! The prices in use: the shipped table or the operator's own, and what the settings replace.

use crate::exit::{self, Failed};
use arc_swap::ArcSwap;
use tollkeep_config::settings::Prices;
use tollkeep_ledger::price::{Book, Model, Table, read_overrides};
use tollkeep_store::KeptPrices;

/// The table that is shipped; `cargo xtask prices` made it.
const SHIPPED: &[u8] = include_bytes!("../../../../prices/table.json");
/// Largest table that is read from a file.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The prices to start with, which a reload exchanges.
///
/// # Errors
/// As [`book`].
pub(crate) fn at_start(prices: &Prices, kept: &KeptPrices) -> Result<ArcSwap<Book>, Failed> {
    let book = book(prices, kept);
    let book = book.map_err(|problem| Failed::new(exit::INVALID, format!("prices: {problem}")))?;
    Ok(ArcSwap::from_pointee(book))
}

/// The prices that the settings ask for, with what operators wrote or took in besides: their table stands
/// in for the shipped one, and a model of theirs for one of the settings with the same name.
///
/// # Errors
/// A table that can't be read or is not valid; the message names it.
pub(crate) fn book(prices: &Prices, kept: &KeptPrices) -> Result<Book, String> {
    let table = match (&prices.file, &kept.table) {
        (None, None) => {
            table(SHIPPED).map_err(|error| format!("the shipped price table: {error}"))?
        }
        (None, Some(kept)) => {
            let told = |error| {
                format!(
                    "the price table {} that was taken in: {error}",
                    kept.version
                )
            };
            table(kept.document.as_bytes()).map_err(told)?
        }
        (Some(path), _) => {
            let told = |error: String| format!("{}: {error}", path.display());
            let meta = std::fs::metadata(path).map_err(|error| told(error.to_string()))?;
            if !meta.is_file() || meta.len() > FILE_BYTES_MAX {
                return Err(told("is no file of at most 64 MiB".to_owned()));
            }
            let bytes = std::fs::read(path).map_err(|error| told(error.to_string()))?;
            table(&bytes).map_err(told)?
        }
    };
    let mut overrides = kept_models(kept)?;
    let own = |model: &&Model| {
        let same = |other: &Model| other.id == model.id && other.provider == model.provider;
        !overrides.iter().any(same)
    };
    let configured: Vec<Model> = prices.overrides.iter().filter(own).cloned().collect();
    overrides.extend(configured);
    Ok(Book::new(table, overrides, prices.unknown_model))
}

fn kept_models(kept: &KeptPrices) -> Result<Vec<Model>, String> {
    let mut models = Vec::with_capacity(kept.overrides.len());
    for one in &kept.overrides {
        let told = |error: String| format!("the override {}: {error}", one.id);
        let entry = serde_json::from_str(&one.document).map_err(|error| told(error.to_string()))?;
        let read = read_overrides(vec![entry]).map_err(|error| told(error.to_string()))?;
        models.extend(read);
    }
    Ok(models)
}

fn table(bytes: &[u8]) -> Result<Table, String> {
    let hash = tollkeep_crypto::sha256(&[bytes]);
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    Table::read(bytes, &hash).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollkeep_ledger::price::Provider;
    use tollkeep_types::WallMillis;
    use tollkeep_types::usage::Class;

    // LED-30 LED-35
    #[test]
    fn the_shipped_table_is_valid_and_knows_what_is_called_most() {
        let book = book(&Prices::default(), &KeptPrices::default()).unwrap();
        assert!(book.models().len() > 200);
        assert_eq!(book.version().1.len(), 64);
        for (kind, model, in_text) in [
            ("openai", "gpt-4o", 2_500_000),
            ("openai", "gpt-4o-2024-11-20", 2_500_000),
            ("anthropic", "claude-opus-4-6", 5_000_000),
            ("sandbox", "sandbox-1", 2_500_000),
        ] {
            let provider = Provider {
                name: "p",
                kind,
                self_hosted: false,
            };
            let found = book.find(provider, model, WallMillis(1_795_342_530_123));
            let rate = found.unwrap().rates.base.token(Class::InText);
            assert_eq!(rate.map(|rate| rate.get()), Some(in_text), "{model}");
        }
    }
}

//! The prices in use: the shipped table or the operator's own, and what the settings replace.

use crate::exit::{self, Failed};
use arc_swap::ArcSwap;
use std::path::Path;
use tollkeep_config::settings::Prices;
use tollkeep_ledger::price::{Book, Override, Table, UnknownModel, read_overrides};
use tollkeep_store::{Conflict, KeptPrices, KeptTable, Store, StoreError};

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
    Ok(read_book(prices, kept)?.0)
}

/// The prices, and the document of their table.
fn read_book(prices: &Prices, kept: &KeptPrices) -> Result<(Book, Vec<u8>), String> {
    let (table, document) = match (Origin::of(prices, kept), &kept.table) {
        (Origin::File(path), _) => {
            let told = |error: String| format!("{}: {error}", path.display());
            let bytes = read(path).map_err(told)?;
            (table(&bytes).map_err(told)?, bytes)
        }
        (Origin::Imported, Some(kept)) => {
            let told = |error| {
                format!(
                    "the price table {} that was taken in: {error}",
                    kept.version
                )
            };
            let bytes = kept.document.clone().into_bytes();
            (table(&bytes).map_err(told)?, bytes)
        }
        (Origin::Shipped | Origin::Imported, _) => {
            let told = |error| format!("the shipped price table: {error}");
            (table(SHIPPED).map_err(told)?, SHIPPED.to_vec())
        }
    };
    let overrides = overrides(prices, kept)?;
    Ok((Book::new(table, overrides, prices.unknown_model), document))
}

/// Keeps the shipped table and the one that these settings name, since records name them by their hash
/// alone. Blocks nobody where there are too many.
///
/// # Errors
/// A table that can't be read, or the store.
pub(crate) async fn keep(store: &Store, prices: &Prices) -> Result<(), String> {
    let kept = store.prices();
    let mut documents = vec![SHIPPED.to_vec()];
    if prices.file.is_some() {
        documents.push(read_book(prices, &kept)?.1);
    }
    for document in documents {
        keep_one(store, document).await?;
    }
    Ok(())
}

async fn keep_one(store: &Store, document: Vec<u8>) -> Result<(), String> {
    let sha256 = hash(&document);
    let known = store.price_table(&sha256).await;
    if known.map_err(|error| error.to_string())?.is_some() {
        return Ok(());
    }
    let version = table(&document)?.version.to_string();
    let document = String::from_utf8(document).map_err(|error| error.to_string())?;
    let table = KeptTable {
        sha256,
        version,
        document,
        imported_at: store.now(),
    };
    match store.keep_price_table(table).await {
        Err(StoreError::Conflict(Conflict::PricesFull)) => {
            tracing::warn!("There are too many price tables: that in use is not kept for records");
            Ok(())
        }
        kept => kept.map_err(|error| error.to_string()),
    }
}

fn overrides(prices: &Prices, kept: &KeptPrices) -> Result<Vec<Override>, String> {
    let mut overrides = kept_overrides(kept)?;
    let own = |one: &&Override| !overrides.iter().any(|other| other.is_of_the_same(one));
    let configured: Vec<Override> = prices.overrides.iter().filter(own).cloned().collect();
    overrides.extend(configured);
    Ok(overrides)
}

/// Where the table in use is from.
#[derive(Clone, Copy, Debug)]
enum Origin<'p> {
    Shipped,
    Imported,
    File(&'p Path),
}

impl<'p> Origin<'p> {
    fn of(prices: &'p Prices, kept: &KeptPrices) -> Self {
        match (&prices.file, &kept.table) {
            (Some(path), _) => Self::File(path),
            (None, Some(_)) => Self::Imported,
            (None, None) => Self::Shipped,
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let meta = std::fs::metadata(path).map_err(|error| error.to_string())?;
    if !meta.is_file() || meta.len() > FILE_BYTES_MAX {
        return Err("is no file of at most 64 MiB".to_owned());
    }
    std::fs::read(path).map_err(|error| error.to_string())
}

/// The shipped table, without anybody's own prices.
///
/// # Errors
/// It is not valid, which is a fault of the program.
pub(crate) fn shipped() -> Result<Book, String> {
    book(&Prices::default(), &KeptPrices::default())
}

/// The table of a document, without anybody's own prices.
///
/// # Errors
/// It is no table.
pub(crate) fn alone(document: &str) -> Result<Book, String> {
    let table = table(document.as_bytes())?;
    Ok(Book::new(table, Vec::new(), UnknownModel::Refuse))
}

fn kept_overrides(kept: &KeptPrices) -> Result<Vec<Override>, String> {
    let mut all = Vec::with_capacity(kept.overrides.len());
    for one in &kept.overrides {
        let told = |error: String| format!("the override {}: {error}", one.id);
        let entry = serde_json::from_str(&one.document).map_err(|error| told(error.to_string()))?;
        let read = read_overrides(vec![entry]).map_err(|error| told(error.to_string()))?;
        all.extend(read);
    }
    Ok(all)
}

fn table(bytes: &[u8]) -> Result<Table, String> {
    Table::read(bytes, &hash(bytes)).map_err(|error| error.to_string())
}

fn hash(bytes: &[u8]) -> String {
    let hash = tollkeep_crypto::sha256(&[bytes]);
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
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

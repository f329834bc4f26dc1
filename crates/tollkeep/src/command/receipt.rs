//! `tollkeep receipt …`

use super::client::Client;
use super::config::Source;
use super::{Connection, output};
use crate::assemble::prices;
use crate::exit::{self, CHECK_FAILED, Failed};
use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use tollkeep_crypto::receipt::ReceiptKeys;
use tollkeep_crypto::sha256;
use tollkeep_ledger::price::Book;
use tollkeep_ledger::receipt::{Chains, Receipt};
use tollkeep_store::KeptPrices;

/// Bytes of a file of receipts, and of keys.
const BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Where a gateway publishes its keys.
const KEYS: &str = "/.well-known/tollkeep/receipt-keys";
/// Where operators see and exchange them.
const OWN_KEYS: &str = "/api/v1/receipts/keys";
/// Faults that are told one by one.
const TOLD_MAX: usize = 20;

/// Signed receipts of calls.
#[derive(Debug, Subcommand)]
pub(crate) enum ReceiptCommand {
    /// Check receipts: signature, chain, and the cost by their lines and the price table
    Verify(Verify),
    /// Show the public keys that receipts are signed with
    Keys(Asked),
    /// Sign receipts with a new key, which the one before signs
    RotateKey(Asked),
}

/// The gateway whose receipts they are.
#[derive(Args, Debug)]
pub(crate) struct Asked {
    #[command(flatten)]
    connection: Connection,
}

/// Receipts, and what they are checked with.
#[derive(Args, Debug)]
pub(crate) struct Verify {
    /// A file with receipts, one a line or as the gateway gives them; `-` for standard input
    file: PathBuf,
    /// The keys, as `/.well-known/tollkeep/receipt-keys` gives them
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "url",
        conflicts_with = "url"
    )]
    keys: Option<PathBuf>,
    /// Ask this gateway for the keys: its address, such as `https://gateway.example`
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Certificates (PEM) to trust besides the system's, for https
    #[arg(long, value_name = "FILE", requires = "url")]
    ca_file: Option<PathBuf>,
    /// These are only some receipts of their chains: gaps are no fault
    #[arg(long)]
    some: bool,
    /// Take the price table of the configuration instead of the shipped one
    #[arg(long)]
    configured: bool,
    /// A price table that some of them name besides, as it was taken in; may be given again
    #[arg(long = "table", value_name = "FILE")]
    tables: Vec<PathBuf>,
    #[command(flatten)]
    source: Source,
    /// Print JSON, also on a terminal
    #[arg(long)]
    json: bool,
}

impl ReceiptCommand {
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Verify(verify) => verify.run(),
            Self::Keys(asked) => {
                output::json(&Client::new(&asked.connection)?.get(OWN_KEYS)?);
                Ok(())
            }
            Self::RotateKey(asked) => {
                let client = Client::new(&asked.connection)?;
                output::json(&client.post(OWN_KEYS, &json!({}))?);
                Ok(())
            }
        }
    }
}

/// What was found.
#[derive(Debug, Default)]
struct Found {
    receipts: usize,
    reckoned: usize,
    faults: Vec<String>,
}

impl Verify {
    fn run(self) -> anyhow::Result<()> {
        let invalid = |problem: String| Failed::new(exit::INVALID, problem);
        let (keys, place) = self.keys()?;
        let keys = ReceiptKeys::read(keys.as_bytes())
            .map_err(|fault| invalid(format!("{place}: {fault}")))?;
        let settings = if self.configured {
            self.source.load()?.settings.prices
        } else {
            tollkeep_config::settings::Prices::default()
        };
        let book = prices::book(&settings, &KeptPrices::default()).map_err(invalid)?;
        let mut books = vec![book];
        for path in &self.tables {
            let told = |problem: String| invalid(format!("{}: {problem}", path.display()));
            books.push(prices::alone(&read(path)?).map_err(told)?);
        }
        let texts = texts(&read(&self.file)?).map_err(invalid)?;
        let found = check(&texts, &keys, &books, self.some);
        let (faults, receipts) = (found.faults.len(), found.receipts);
        if output::wants_json(self.json) {
            output::json(&json!({
                "valid": faults == 0,
                "receipts": receipts,
                "reckoned": found.reckoned,
                "faults": found.faults.iter().take(TOLD_MAX).collect::<Vec<_>>(),
                "faults_in_all": faults,
            }));
        } else {
            for fault in found.faults.iter().take(TOLD_MAX) {
                println!("{fault}");
            }
            println!(
                "{receipts} receipts, the cost of {} follows from their lines and the price table",
                found.reckoned
            );
        }
        if faults > 0 {
            let problem = format!("{faults} of what was checked is not as it was signed");
            return Err(Failed::new(CHECK_FAILED, problem).into());
        }
        Ok(())
    }
}

impl Verify {
    /// The published keys, and where they are from.
    fn keys(&self) -> anyhow::Result<(String, String)> {
        if let Some(path) = &self.keys {
            return Ok((read(path)?, path.display().to_string()));
        }
        let url = self.url.clone().unwrap_or_default();
        let connection = Connection {
            ca_file: self.ca_file.clone(),
            ..Connection::to(Some(url.clone()), self.json)
        };
        let keys = Client::unsigned(&connection)?.get(KEYS)?;
        Ok((keys.to_string(), url))
    }
}

fn check(texts: &[String], keys: &ReceiptKeys, books: &[Book], some: bool) -> Found {
    let (mut found, mut chains) = (Found::default(), Chains::default());
    for (number, text) in (1..).zip(texts) {
        found.receipts += 1;
        let fault = |problem: &dyn std::fmt::Display| format!("receipt {number} {problem}");
        let payload = match keys.open(text) {
            Ok(payload) => payload,
            Err(problem) => {
                found.faults.push(fault(&problem));
                continue;
            }
        };
        let receipt = match Receipt::read(&payload) {
            Ok(receipt) => receipt,
            Err(problem) => {
                found.faults.push(fault(&problem));
                continue;
            }
        };
        let named = receipt.price.as_ref().map(|price| &*price.sha256);
        let is_named = |book: &&Book| Some(book.version().1) == named;
        let book = books.iter().find(is_named).or(books.first());
        match book.map_or(Ok(false), |book| receipt.reckon(book)) {
            Ok(reckoned) => found.reckoned += usize::from(reckoned),
            Err(problem) => found.faults.push(fault(&problem)),
        }
        let hash = sha256(&[text.as_bytes()]);
        let hash = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        chains.add(&receipt, hash);
    }
    let broken = chains.faults(some);
    found.faults.extend(broken.iter().map(ToString::to_string));
    found
}

/// One a line, or the answers of the gateway.
fn texts(file: &str) -> Result<Vec<String>, String> {
    let mut texts = Vec::new();
    for line in file.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if !line.starts_with('{') {
            texts.push(line.to_owned());
            continue;
        }
        let answer: Value = serde_json::from_str(line).map_err(|_| "is no JSON".to_owned())?;
        let all = answer.get("receipts").and_then(Value::as_array);
        let all = all.ok_or("has no list of receipts")?;
        for text in all {
            let text = text.as_str().ok_or("has a receipt that is no text")?;
            texts.push(text.to_owned());
        }
    }
    if texts.is_empty() {
        return Err("there is no receipt in it".to_owned());
    }
    Ok(texts)
}

fn read(path: &Path) -> anyhow::Result<String> {
    let told = || format!("cannot read {}", path.display());
    let mut text = String::new();
    if path == Path::new("-") {
        let input = std::io::stdin().lock();
        input.take(BYTES_MAX).read_to_string(&mut text)
    } else {
        let file = std::fs::File::open(path).with_context(told)?;
        file.take(BYTES_MAX).read_to_string(&mut text)
    }
    .with_context(told)?;
    Ok(text)
}

//! `tollkeep price overrides, override, set, unset, import, restore`: prices of one's own, while the gateway
//! runs.

use super::client::Client;
use super::token::{confirm, path_segment};
use super::{Connection, output};
use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// All of them.
#[derive(Args, Debug)]
pub(crate) struct Overrides {
    #[command(flatten)]
    connection: Connection,
}

/// One of them.
#[derive(Args, Debug)]
pub(crate) struct Override {
    /// Its name
    id: String,
    #[command(flatten)]
    connection: Connection,
}

/// A price to be written.
#[derive(Args, Debug)]
pub(crate) struct Set {
    /// Its name: small letters, digits, `-`, `_`, `.`
    id: String,
    /// A file with a model as price tables have them, or a markup, in JSON
    file: PathBuf,
    #[command(flatten)]
    connection: Connection,
}

/// A table to be taken in.
#[derive(Args, Debug)]
pub(crate) struct Import {
    /// A file with a price table, of format `tollkeep-prices/1`
    file: PathBuf,
    /// A file with its signature in base64; if not given, the same with `.sig` behind it
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
}

/// Back to the shipped table.
#[derive(Args, Debug)]
pub(crate) struct Restore {
    /// Don't ask
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    connection: Connection,
}

const PLACE: &str = "/api/v1/prices/overrides";

const COLUMNS: &[(&str, &str)] = &[
    ("ID", "/id"),
    ("PROVIDER", "/override/provider"),
    ("MODEL", "/override/model"),
    ("MARKUP", "/override/markup"),
    ("PROJECT", "/override/project"),
    ("TOKEN", "/override/token"),
    ("UPDATED", "/updated_at"),
];

const TABLE: &[(&str, &str)] = &[
    ("version", "/version"),
    ("hash", "/sha256"),
    ("published", "/published_at"),
    ("models", "/models"),
];

impl Overrides {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let rows = Client::new(&self.connection)?.get(PLACE)?;
        let rows = rows.as_array().cloned().unwrap_or_default();
        output::list(&rows, self.connection.json, COLUMNS);
        Ok(())
    }
}

impl Override {
    /// Shows it: it is a document, and there is no other form of it.
    pub(super) fn show(self) -> anyhow::Result<()> {
        output::json(&Client::new(&self.connection)?.get(&place(&self.id))?);
        Ok(())
    }

    pub(super) fn unset(self) -> anyhow::Result<()> {
        Client::new(&self.connection)?.delete(&place(&self.id))?;
        Ok(())
    }
}

impl Set {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let text = read(&self.file)?;
        let model: Value = serde_json::from_str(&text)
            .with_context(|| format!("{} is not JSON", self.file.display()))?;
        let body = json!({ "override": model });
        let written = Client::new(&self.connection)?.put(&place(&self.id), &body)?;
        output::one(&written, self.connection.json, COLUMNS);
        Ok(())
    }
}

impl Import {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let signature = self.signature.unwrap_or_else(|| {
            let mut path = self.file.clone().into_os_string();
            path.push(".sig");
            path.into()
        });
        let body = json!({
            "document": read(&self.file)?,
            "signature": read(&signature)?.trim(),
        });
        let table = Client::new(&self.connection)?.post("/api/v1/prices/import", &body)?;
        output::one(&table, self.connection.json, TABLE);
        Ok(())
    }
}

impl Restore {
    pub(super) fn run(self) -> anyhow::Result<()> {
        if !self.yes {
            confirm("Use the shipped price table again?")?;
        }
        let table = Client::new(&self.connection)?.delete("/api/v1/prices/import")?;
        output::one(&table, self.connection.json, TABLE);
        Ok(())
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn place(id: &str) -> String {
    format!("{PLACE}/{}", path_segment(id))
}

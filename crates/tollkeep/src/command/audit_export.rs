//! `tollkeep audit export`: records of a time, for somebody else to keep.

use super::Connection;
use super::audit_cat::key_for;
use super::audit_events::point;
use super::client::Client;
use super::config::Source;
use super::output;
use crate::exit::{CHECK_FAILED, Failed, INVALID};
use crate::system::SystemClock;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use tollkeep_audit::{ExportFormat, ExportRange, Exported, export, log_files};
use tollkeep_types::{Clock, WallMillis};

/// How often a copy is made that the gateway saw otherwise.
const TRIES: u32 = 3;

/// Which records, and where they go.
#[derive(Args, Debug)]
pub(crate) struct Export {
    /// Not before so long ago, such as 30d, or a time
    #[arg(long, value_name = "DURATION|TIME")]
    from: String,
    /// Before so long ago, or a time; now if nothing is said
    #[arg(long, value_name = "DURATION|TIME")]
    to: Option<String>,
    /// jsonl is what was written, line by line, and proves itself; csv is for spreadsheets
    #[arg(long, value_enum, default_value = "jsonl")]
    format: Format,
    /// The file it goes to (0600); else standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write a signed manifest.json beside it, which `audit verify` takes
    #[arg(long, requires = "out")]
    signed: bool,
    /// The audit log of the gateway, if it is not in the data folder
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// What opens sealed files is in the store of the gateway of this configuration
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Jsonl,
    Csv,
    Json,
}

impl From<Format> for ExportFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Jsonl => Self::Jsonl,
            Format::Csv => Self::Csv,
            Format::Json => Self::Json,
        }
    }
}

impl Export {
    /// Runs the command.
    ///
    /// # Errors
    /// The gateway refuses, a file can't be read or written, or the two saw different records.
    pub(crate) fn run(mut self) -> anyhow::Result<()> {
        if let (false, Some(folder)) = (self.source.is_given(), &self.connection.data_dir) {
            self.source.set("data_dir", &folder.display().to_string());
        }
        let range = self.range()?;
        let client = Client::new(&self.connection)?;
        // First it is recorded that somebody takes a copy. What is still being written may be in one
        // reading and not in the other: then both are done again.
        let name = self.out.as_deref().and_then(Path::file_name);
        let name = name.map_or_else(|| "-".into(), |name| name.to_string_lossy());
        let asked = json!({
            "start_time": range.from,
            "end_time": range.to,
            "format": range.format.as_str(),
            "file": name,
        });
        let log = self.log.clone().unwrap_or_else(|| {
            let folder = self.connection.data_dir.clone();
            folder
                .unwrap_or_else(|| PathBuf::from("./data"))
                .join("audit.log")
        });
        let files = log_files(&log, None).map_err(|error| failed(&log, &error))?;
        let key = key_for(&files, &self.source)?;
        let from = (&*log, key.as_ref());
        for _ in 0..TRIES {
            let manifest = client.post("/api/v1/audit/export", &asked)?;
            let Some(path) = &self.out else {
                let mut out = io::stdout().lock();
                export(from, range, &mut out).map_err(|error| failed(&log, &error))?;
                return Ok(());
            };
            let mut out = BufWriter::new(made(path)?);
            let written = export(from, range, &mut out).map_err(|error| failed(&log, &error))?;
            let file = out.into_inner().map_err(io::Error::from);
            file.and_then(|file| file.sync_all())
                .map_err(|error| failed(path, &error))?;
            let of_gateway = manifest.pointer("/files/0/sha256").and_then(Value::as_str);
            if of_gateway == Some(&written.sha256) {
                return self.finish(path, &manifest, &written);
            }
        }
        let problem = "the gateway has other records of that time than these files: name its log with --log, or end \
                       the range before now";
        Err(Failed::new(CHECK_FAILED, problem.to_owned()).into())
    }

    fn range(&self) -> anyhow::Result<ExportRange> {
        let time = |flag: &str, text: &str| -> anyhow::Result<WallMillis> {
            Ok(point(flag, text)?.parse()?)
        };
        let to = match &self.to {
            Some(to) => time("--to", to)?,
            None => SystemClock::new().wall(),
        };
        let from = time("--from", &self.from)?;
        if from >= to {
            return Err(Failed::new(2, "--from is not before --to".to_owned()).into());
        }
        Ok(ExportRange {
            from,
            to,
            format: self.format.into(),
        })
    }

    /// Writes the manifest, if it is wanted.
    fn finish(&self, out: &Path, manifest: &Value, written: &Exported) -> anyhow::Result<()> {
        let mut told = json!({ "file": out, "records": written.records, "sha256": written.sha256 });
        if self.signed {
            let path = out.with_file_name("manifest.json");
            let text = format!("{manifest:#}\n");
            made(&path)?
                .write_all(text.as_bytes())
                .map_err(|error| failed(&path, &error))?;
            if let Some(told) = told.as_object_mut() {
                told.insert("manifest".to_owned(), json!(path));
            }
        }
        output::json(&told);
        Ok(())
    }
}

fn failed(path: &Path, error: &io::Error) -> Failed {
    Failed::new(INVALID, format!("{}: {error}", path.display()))
}

fn made(path: &Path) -> Result<File, Failed> {
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path).map_err(|error| failed(path, &error))
}

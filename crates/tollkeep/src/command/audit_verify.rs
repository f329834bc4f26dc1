//! `tollkeep audit verify`: what an auditor makes of files, without the gateway and without its
//! keys.

use super::audit::checkpoints;
use super::audit_cat::key_for;
use super::audit_ledger::{Compared, Told};
use super::client::Client;
use super::config::Source;
use super::output;
use crate::exit::{CHECK_FAILED, Failed, INVALID};
use clap::Args;
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};
use tollkeep_audit::{FaultKind, Manifest, Report, Trust, Verifier, in_order, log_files, open_log};
use tollkeep_crypto::Sha256;
use tollkeep_crypto::archive::ArchiveKey;

/// Bytes of a file of keys.
const KEYS_BYTES_MAX: u64 = 1 << 20;
/// A longer checkpoint is none.
const LINE_BYTES_MAX: u64 = 256 << 10;

/// Which files, and what they are checked with.
#[derive(Args, Debug)]
pub(crate) struct Verify {
    /// The files, plain, compressed (gzip, Zstandard) or sealed, in any order; else every file of the
    /// log in the data folder
    files: Vec<PathBuf>,
    /// The data folder
    #[arg(long, default_value = "./data", value_name = "DIR")]
    data_dir: PathBuf,
    /// Check signatures with these keys: what `tollkeep audit keys` printed, or one key
    #[arg(long, value_name = "FILE")]
    public_key: Option<PathBuf>,
    /// Checkpoints that were kept elsewhere, one a line: the end of the log must not be before them
    #[arg(long, value_name = "FILE")]
    checkpoint: Vec<PathBuf>,
    /// Ask the running gateway for the checkpoints in its store too
    #[arg(long)]
    db: bool,
    /// Compare what events tell of money with the running gateway's ledger
    #[arg(long)]
    ledger: bool,
    /// The files are only a part of the log: what comes before them is not missed
    #[arg(long)]
    part: bool,
    /// Print JSON, also on a terminal
    #[arg(long)]
    json: bool,
    /// What opens sealed files is in the store of the gateway of this configuration
    #[command(flatten)]
    source: Source,
}

/// What nobody can see from within.
const LIMITS: &str = "\
What this can't show: whoever holds the gateway's vault key can write a whole history anew, and records after the \
last checkpoint that is kept elsewhere can be cut off unseen. `audit.anchor` keeps checkpoints elsewhere.";

impl Verify {
    /// Runs the command.
    ///
    /// # Errors
    /// A file can't be read, or is not what was written.
    pub(crate) fn run(mut self) -> anyhow::Result<()> {
        if !self.source.is_given() {
            self.source
                .set("data_dir", &self.data_dir.display().to_string());
        }
        let mut verifier = Verifier::default();
        let keyed = self.public_key.is_some();
        if let Some(path) = &self.public_key {
            verifier = verifier.trusting(trust(path)?);
        }
        if self.part {
            verifier = verifier.of_a_part();
        }
        for path in &self.checkpoint {
            expect(&mut verifier, path)?;
        }
        if self.db {
            for line in checkpoints(&Client::local(&self.data_dir)?)? {
                verifier.expect("the gateway's store", line.to_string().as_bytes());
            }
        }
        let files = found(self.files, &self.data_dir)?;
        let key = key_for(&files, &self.source)?;
        let files = in_order(files, key.as_ref());
        let (manifests, files) = manifests_of(files);
        for (path, manifest) in &manifests {
            verifier.expect_listed(&path.display().to_string(), manifest);
            for (name, sha256) in &manifest.files {
                let mut listed = files.iter();
                let named =
                    |path: &&PathBuf| path.file_name().is_some_and(|own| own == name.as_str());
                if let Some(path) = listed.find(named)
                    && hash(path).map_err(|error| unreadable(path, &error))? != *sha256
                {
                    verifier.blame(&path.display().to_string(), FaultKind::NotAsListed);
                }
            }
        }
        for path in &files {
            let read = open_log(path, key.as_ref());
            let read = read.and_then(|input| verifier.read(&path.display().to_string(), input));
            read.map_err(|error| unreadable(path, &error))?;
        }
        let ledger = self
            .ledger
            .then(|| compare((&files, key.as_ref()), &self.data_dir));
        tell(&verifier.finish(), keyed, self.json, ledger.transpose()?)
    }
}

/// The files that are named, or those of the log in the data folder.
fn found(files: Vec<PathBuf>, data_dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if !files.is_empty() {
        return Ok(files);
    }
    let path = data_dir.join("audit.log");
    let found = log_files(&path, None).map_err(|error| unreadable(&path, &error))?;
    if found.is_empty() {
        let folder = data_dir.display();
        let problem = format!("there is no audit log in {folder}: name its files");
        return Err(Failed::new(INVALID, problem).into());
    }
    Ok(found)
}

/// What the files tell of the ledger, and what the running gateway has.
fn compare(
    (files, key): (&[PathBuf], Option<&ArchiveKey>),
    data_dir: &Path,
) -> anyhow::Result<Compared> {
    let told = Told::read(files, key).map_err(|error| unreadable(data_dir, &error))?;
    told.compare(&Client::local(data_dir)?)
}

/// The manifests among the files, and the others.
fn manifests_of(files: Vec<PathBuf>) -> (Vec<(PathBuf, Manifest)>, Vec<PathBuf>) {
    let (mut manifests, mut others) = (Vec::new(), Vec::new());
    for path in files {
        let is_json = path.extension().is_some_and(|end| end == "json");
        let manifest = is_json.then(|| read_manifest(&path)).flatten();
        match manifest {
            Some(manifest) => manifests.push((path, manifest)),
            None => others.push(path),
        }
    }
    (manifests, others)
}

fn read_manifest(path: &Path) -> Option<Manifest> {
    let mut text = String::new();
    let file = File::open(path).ok()?;
    file.take(KEYS_BYTES_MAX).read_to_string(&mut text).ok()?;
    Manifest::read(&text)
}

/// SHA-256 of a file, as hex digits.
fn hash(path: &Path) -> std::io::Result<String> {
    let mut input = BufReader::with_capacity(1 << 18, File::open(path)?);
    let mut hash = Sha256::new();
    loop {
        let part = input.fill_buf()?;
        if part.is_empty() {
            let hash = hash.finish();
            return Ok(hash.iter().map(|byte| format!("{byte:02x}")).collect());
        }
        hash.update(part);
        let read = part.len();
        input.consume(read);
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failed {
    Failed::new(INVALID, format!("cannot read {}: {error}", path.display()))
}

fn trust(path: &Path) -> anyhow::Result<Trust> {
    let mut text = String::new();
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    file.take(KEYS_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|error| unreadable(path, &error))?;
    let trust = Trust::read(&text)
        .map_err(|fault| Failed::new(INVALID, format!("{}: {fault}", path.display())))?;
    Ok(trust)
}

/// Takes in checkpoints, one a line.
fn expect(verifier: &mut Verifier, path: &Path) -> anyhow::Result<()> {
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let (mut input, name) = (BufReader::new(file), path.display().to_string());
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let mut part = (&mut input).take(LINE_BYTES_MAX);
        let read = part.read_until(b'\n', &mut line);
        if read.map_err(|error| unreadable(path, &error))? == 0 {
            break;
        }
        let text = line.trim_ascii();
        if !text.is_empty() && !verifier.expect(&name, text) {
            let problem = format!("{name}:{number}: is no checkpoint");
            return Err(Failed::new(INVALID, problem).into());
        }
    }
    Ok(())
}

fn tell(
    report: &Report,
    keyed: bool,
    as_json: bool,
    ledger: Option<Compared>,
) -> anyhow::Result<()> {
    if output::wants_json(as_json) {
        let mut shown = shown(report);
        if let (Some(ledger), Some(members)) = (&ledger, shown.as_object_mut()) {
            members.insert("ledger".to_owned(), ledger.shown());
        }
        output::json(&shown);
    } else {
        print(report, keyed);
        if let Some(ledger) = &ledger {
            ledger.print();
        }
    }
    let of_ledger = ledger.map_or(0, |ledger| ledger.faults_in_all());
    match report.faults_in_all.saturating_add(of_ledger) {
        0 => Ok(()),
        faults => {
            let are = if faults == 1 { "fault" } else { "faults" };
            let problem = format!("{faults} {are}: this is not what was written");
            Err(Failed::new(CHECK_FAILED, problem).into())
        }
    }
}

fn print(report: &Report, keyed: bool) {
    for fault in &report.faults {
        println!("{fault}");
    }
    for stream in &report.streams {
        println!(
            "{}: records {} to {}, the last is {}",
            stream.stream, stream.first, stream.last, stream.head
        );
        if let Some(through) = stream.pruned_through {
            println!("  up to {through} deleted on purpose, as a record says");
        }
        match stream.signed_through {
            Some(through) => println!(
                "  signed up to {through}, {} after that are not",
                stream.unsigned_tail
            ),
            None if keyed => println!("  no checkpoint in it that one of the keys signed"),
            None => {}
        }
    }
    if report.told_lost > 0 {
        let lost = report.told_lost;
        println!("{lost} events were lost while the log could not be written, as it says itself");
    }
    if !keyed {
        println!(
            "{} signatures were not checked: give --public-key, with what `tollkeep audit keys` printed",
            report.unchecked
        );
    }
    println!(
        "{} files, {} records, {} checkpoints with a good signature, {} faults",
        report.files, report.records, report.checkpoints, report.faults_in_all
    );
    println!("{LIMITS}");
}

fn shown(report: &Report) -> Value {
    let mut shown = report.json();
    if let Some(members) = shown.as_object_mut() {
        members.insert("limits".to_owned(), LIMITS.into());
    }
    shown
}

//! `tollkeep serve`

use super::config::Source;
use crate::assemble::{self, Running, documents};
use anyhow::Context;
use clap::Args;
use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use tollkeep_types::Secret;

/// Run the gateway.
#[derive(Args, Debug)]
pub(crate) struct Serve {
    #[command(flatten)]
    source: Source,
    /// Print the addresses as one JSON line when ready
    #[arg(long)]
    print_addr: bool,
}

impl Serve {
    /// Serves until a signal.
    ///
    /// # Errors
    /// Whatever keeps the gateway from serving as configured.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let mut loaded = self.source.load_before_fetching()?;
        let log = super::logs::start(&loaded.settings)?;
        if documents::are_fetched(&loaded.settings) {
            documents::refresh(&loaded.settings)?;
            loaded = self.source.load()?;
        }
        for warning in &loaded.warnings {
            tracing::warn!("{warning}");
        }
        let again = self.source.again(&loaded);
        let running = assemble::start(loaded.settings, log, Some(again))?;
        // The key first: who waits for the addresses may want it at once.
        if let Some(key) = &running.first_key {
            tell_first_key(&running, key)?;
        }
        if self.print_addr {
            print_addresses(&running);
        } else {
            greet(&running);
        }
        running.serve_until_signal()
    }
}

fn print_addresses(running: &Running) {
    let addresses = serde_json::json!({
        "data": running.at.data,
        "listen": running.at.doors,
        "management": running.at.management,
        "metrics": running.at.metrics,
        "pid": std::process::id(),
    });
    println!("{addresses}");
}

fn greet(running: &Running) {
    let settings = running.settings();
    let scheme = |tls: bool| if tls { "https" } else { "http" };
    eprintln!("tollkeep {} serves", assemble::VERSION);
    for (listen, addr) in settings.server.listen.iter().zip(&running.at.doors) {
        let note = if listen.redirect_http {
            "  (leads to https)"
        } else {
            ""
        };
        eprintln!("  callers     {}://{addr}{note}", scheme(listen.tls));
    }
    if let Some(addr) = running.at.management {
        let scheme = scheme(settings.management.tls.is_some());
        eprintln!("  management  {scheme}://{addr}");
    }
    if let Some(addr) = running.at.metrics {
        let scheme = scheme(settings.metrics.tls.is_some());
        eprintln!("  metrics     {scheme}://{addr}{}", settings.metrics.path);
    }
}

/// Shows the first management key once: on the terminal, or in a file of our own user.
fn tell_first_key(running: &Running, key: &Secret) -> anyhow::Result<()> {
    if io::stdout().is_terminal() {
        println!(
            "\nFirst management key, shown only now:\n\n  {}\n",
            key.expose()
        );
        return Ok(());
    }
    let path = running.settings().data_dir.join("first-management-key");
    write_anew(&path, key).with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("  the first management key is in {}", path.display());
    Ok(())
}

/// A file that is there already holds the key of an earlier database.
fn write_anew(path: &Path, key: &Secret) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    writeln!(file, "{}", key.expose())?;
    file.sync_all()
}

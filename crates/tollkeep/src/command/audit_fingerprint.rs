//! `tollkeep audit fingerprint`: what the log shows of a secret that was found somewhere.

use super::config::Source;
use crate::assemble::fingerprint_key;
use crate::exit::{Failed, INVALID};
use clap::Args;
use std::io::{self, Read as _};
use std::path::PathBuf;
use tollkeep_audit::fingerprint;
use zeroize::Zeroizing;

/// A longer text is no secret of ours.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Which secret, and whose log.
#[derive(Args, Debug)]
pub(crate) struct Fingerprint {
    /// `-`: the secret is read from standard input, so that no list of processes and no history of a
    /// shell shows it
    #[arg(value_name = "-", value_parser = ["-"])]
    from: String,
    /// The data folder, whatever the settings say
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// What fingerprints are made with is in the store of the gateway of this configuration
    #[command(flatten)]
    source: Source,
}

impl Fingerprint {
    /// Runs the command.
    ///
    /// # Errors
    /// There is no secret, or the store or the vault can't be opened.
    pub(crate) fn run(mut self) -> anyhow::Result<()> {
        let mut text = Zeroizing::new(String::new());
        let mut input = io::stdin().lock().take(SECRET_BYTES_MAX + 1);
        let unreadable = |error: io::Error| Failed::new(INVALID, format!("the secret: {error}"));
        input.read_to_string(&mut text).map_err(unreadable)?;
        // As a key file and `echo` end.
        let secret = text.trim_end_matches(['\r', '\n']);
        let length = u64::try_from(text.len()).unwrap_or(u64::MAX);
        if secret.is_empty() || length > SECRET_BYTES_MAX {
            let problem = "want one secret on standard input, of at most 64 KiB";
            return Err(Failed::new(INVALID, problem).into());
        }
        if let Some(data_dir) = &self.data_dir {
            self.source.set("data_dir", &data_dir.display().to_string());
        }
        let key = self.source.look().and_then(|loaded| {
            let key = fingerprint_key(loaded.settings)?;
            key.ok_or_else(|| anyhow::anyhow!("the gateway never started"))
        });
        let problem = "what fingerprints are made with can't be had";
        let refused = |error| Failed::new(INVALID, format!("{problem}: {error:#}"));
        let key = Zeroizing::new(key.map_err(refused)?);
        println!("{}", fingerprint(&key, secret));
        Ok(())
    }
}

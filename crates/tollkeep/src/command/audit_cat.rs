//! `tollkeep audit cat`: what files of the log say, in whatever form they stand.

use super::config::Source;
use crate::assemble::archive_key;
use crate::exit::{Failed, INVALID};
use clap::Args;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use tollkeep_audit::{in_order, is_sealed, log_files, open_log};
use tollkeep_crypto::archive::ArchiveKey;

/// Which files.
#[derive(Args, Debug)]
pub(crate) struct Cat {
    /// The files, plain, compressed or sealed, one after the other as they are given; else every file
    /// of the log
    files: Vec<PathBuf>,
    /// The data folder, whatever the settings say
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// What opens sealed files is in the store of the gateway of this configuration
    #[command(flatten)]
    source: Source,
}

impl Cat {
    /// Runs the command.
    ///
    /// # Errors
    /// A file can't be read, or is sealed and what opens it is not there.
    pub(crate) fn run(mut self) -> anyhow::Result<()> {
        if let Some(data_dir) = &self.data_dir {
            self.source.set("data_dir", &data_dir.display().to_string());
        }
        let are_given = !self.files.is_empty();
        let files = if are_given {
            self.files
        } else {
            let settings = self.source.look()?.settings;
            let problem = "the gateway of these settings has no audit file";
            let path = settings.audit.file;
            let path = path.ok_or_else(|| Failed::new(INVALID, problem))?;
            log_files(&path, None).map_err(|error| failed(&path, &error))?
        };
        let key = key_for(&files, &self.source)?;
        let files = if are_given {
            files
        } else {
            in_order(files, key.as_ref())
        };
        let mut out = io::stdout().lock();
        for path in &files {
            let mut input = open_log(path, key.as_ref()).map_err(|error| failed(path, &error))?;
            match io::copy(&mut input, &mut out).and_then(|_| out.flush()) {
                // Whoever reads it has seen enough.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                copied => copied.map_err(|error| failed(path, &error))?,
            }
        }
        Ok(())
    }
}

fn failed(path: &Path, error: &io::Error) -> Failed {
    Failed::new(INVALID, format!("{}: {error}", path.display()))
}

/// What opens those of the files that are sealed; `None` if none is.
///
/// # Errors
/// The settings, the store or the vault that has it can't be opened.
pub(super) fn key_for(files: &[PathBuf], source: &Source) -> anyhow::Result<Option<ArchiveKey>> {
    let mut sealed = files.iter().filter(|path| is_sealed(path).unwrap_or(false));
    let Some(sealed) = sealed.next() else {
        return Ok(None);
    };
    let key = source
        .look()
        .and_then(|loaded| archive_key(loaded.settings));
    let refused = |error: anyhow::Error| {
        let path = sealed.display();
        Failed::new(
            INVALID,
            format!("{path} is sealed, and what opens it can't be had: {error:#}"),
        )
    };
    Ok(key.map_err(refused)?)
}

//! `tollkeep man`: manual pages, made from the commands themselves.

use crate::exit::{self, Failed};
use clap::Args;
use std::path::PathBuf;

/// Print the manual page, or write one for every command into a folder
#[derive(Args, Debug)]
pub(crate) struct Man {
    /// The folder; it must be there
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl Man {
    /// Runs the command.
    ///
    /// # Errors
    /// The folder can't be written to.
    pub(crate) fn run(self, command: clap::Command) -> anyhow::Result<()> {
        let Some(folder) = self.dir else {
            let mut page = Vec::new();
            clap_mangen::Man::new(command).render(&mut page)?;
            print!("{}", String::from_utf8_lossy(&page));
            return Ok(());
        };
        let written = clap_mangen::generate_to(command, &folder);
        written.map_err(|error| {
            let problem = format!("cannot write to {}: {error}", folder.display());
            Failed::new(exit::INVALID, problem).into()
        })
    }
}

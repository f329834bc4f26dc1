//! Secrets that are typed, piped or kept in a file; never given as an argument, which others on the
//! machine can see.

use anyhow::Context;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;
use tollkeep_types::Secret;

/// The first line of a file, or of standard input; on a terminal it is asked for and not shown.
///
/// # Errors
/// It can't be read.
pub(crate) fn read(question: &str, file: Option<&Path>) -> anyhow::Result<Secret> {
    let text = match file {
        Some(path) => std::fs::read_to_string(path)
            .with_context(|| format!("cannot read {}", path.display()))?,
        None if std::io::stdin().is_terminal() => typed(question)?,
        None => line()?,
    };
    Ok(Secret::new(text.lines().next().unwrap_or_default()))
}

fn line() -> anyhow::Result<String> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line)
}

/// A line that is typed on the terminal and not shown.
///
/// # Errors
/// Standard input is none, or can't be read.
pub(crate) fn typed(question: &str) -> anyhow::Result<String> {
    eprint!("{question}: ");
    std::io::stderr().flush()?;
    let before = tcgetattr(std::io::stdin())?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(std::io::stdin(), OptionalActions::Flush, &silent)?;
    let line = line();
    tcsetattr(std::io::stdin(), OptionalActions::Flush, &before)?;
    eprint!("\n");
    line
}

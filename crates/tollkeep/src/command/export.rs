//! Lists that are written as they come, page by page, for other programs.

use super::client::Client;
use super::output;
use clap::ValueEnum;
use std::io::Write;

/// How records are written.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Format {
    /// A JSON object a line.
    Jsonl,
    /// A line of names, then a line for each.
    Csv,
}

/// Writes a list, as a place and filters name it, to standard output.
///
/// # Errors
/// The gateway refuses or can't be reached; the output is closed.
pub(super) fn export(
    client: &Client,
    (path, query): (&str, &str),
    format: Format,
) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let mut is_first = true;
    client.pages(path, query, |rows| {
        let text = match format {
            Format::Jsonl => output::jsonl(rows),
            // The names stand once.
            Format::Csv => match (is_first, output::csv(rows)) {
                (true, text) => text,
                (false, text) => text
                    .split_once('\n')
                    .map_or("", |(_, rows)| rows)
                    .to_owned(),
            },
        };
        is_first = false;
        Ok(out.write_all(text.as_bytes())?)
    })
}

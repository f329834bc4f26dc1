//! Tollkeep: a hardened gateway between callers and costly LLM and API upstreams.
//!
//! One file a command, under [`command`]; [`assemble`] puts the parts together and takes them
//! apart again.

#![expect(
    clippy::disallowed_methods,
    reason = "the binary talks to its user and ends with an exit code"
)]

// First, so that its macros are known below.
#[macro_use]
mod print;

mod assemble;
mod command;
mod exit;
mod system;

fn main() {
    // Secrets and databases are nobody else's business, whatever the shell's umask says.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let code = match command::Cli::read().run() {
        Ok(()) if print::is_lost() => exit::UNEXPECTED,
        Ok(()) => exit::DONE,
        Err(error) => {
            eprintln!("tollkeep: {error:#}");
            exit::code_of(&error)
        }
    };
    std::process::exit(code);
}

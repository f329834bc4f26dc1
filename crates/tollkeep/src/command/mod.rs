//! The command line: a file a command.

mod client;
mod config;
mod demo;
mod logs;
mod origin;
mod output;
mod project;
mod serve;
mod status;
mod token;

use clap::{Args, Parser, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;

/// A hardened gateway between callers and costly LLM and API upstreams.
#[derive(Debug, Parser)]
#[command(
    name = "tollkeep",
    version,
    disable_help_subcommand = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Try it: a gateway with a built-in model, one token, nothing to install
    Demo(demo::Demo),
    /// Run the gateway
    Serve(serve::Serve),
    /// Look at the configuration
    #[command(subcommand)]
    Config(config::Config),
    /// The same as `config check`
    Validate(config::Check),
    /// Access tokens of callers
    #[command(subcommand, alias = "tokens")]
    Token(token::Token),
    /// Projects that tokens belong to
    #[command(subcommand, alias = "projects")]
    Project(project::Project),
    /// What an origin sees of the gateway
    #[command(subcommand)]
    Origin(origin::Origin),
    /// How a running gateway is doing
    Status(status::Status),
}

/// Where the running gateway is, and how to print what it says.
#[derive(Args, Debug)]
pub(crate) struct Connection {
    /// The data folder of the gateway, whose local socket is used
    #[arg(long, default_value = "./data", value_name = "DIR")]
    data_dir: PathBuf,
    /// The management address, instead of the local socket; the key comes from
    /// TOLLKEEP_MANAGEMENT_KEY or --key-file
    #[arg(long, value_name = "ADDR:PORT")]
    url: Option<String>,
    /// A file that holds the management key
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Print JSON, also on a terminal
    #[arg(long)]
    json: bool,
}

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    /// What kept it from being done; see [`crate::exit`] for the codes.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self.command {
            Command::Demo(demo) => demo.run(),
            Command::Serve(serve) => serve.run(),
            Command::Config(config) => config.run(),
            Command::Validate(check) => check.run(),
            Command::Token(token) => token.run(),
            Command::Project(project) => project.run(),
            Command::Origin(origin) => origin.run(),
            Command::Status(status) => status.run(),
        }
    }
}

/// `http://host:port` or `host:port`.
fn management_addr(text: &str) -> anyhow::Result<SocketAddr> {
    let bare = text
        .strip_prefix("http://")
        .unwrap_or(text)
        .trim_end_matches('/');
    bare.replace("localhost", "127.0.0.1").parse().map_err(|_| {
        crate::exit::Failed::new(
            2,
            format!("--url: want an address like http://127.0.0.1:8318, got `{text}`"),
        )
        .into()
    })
}

//! The command line: a file a command.

mod breaker;
mod client;
mod config;
mod demo;
mod doctor;
mod ip;
mod job;
mod key;
mod lockout;
mod logs;
mod maintenance;
mod manage;
mod master_key;
mod operator;
mod origin;
mod output;
mod project;
mod secret_input;
mod serve;
mod service_token;
mod session;
mod status;
mod tenant;
mod tls;
mod token;
mod vault;

use crate::exit::{self, Failed};
use crate::system::SystemClock;
use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tollkeep_net::control::Target;
use tollkeep_net::tls::{PairFiles, client_showing};
use tollkeep_types::{Clock, Secret};

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
    Config(ConfigArgs),
    /// Projects and tokens in the words of llm-proxy
    #[command(hide = true)]
    Manage(manage::Manage),
    /// Replace the gateway key of a deployment, as llm-router's `worker-key` does
    #[command(hide = true)]
    WorkerKey(master_key::WorkerKey),
    /// Look for what is wrong with this deployment
    Doctor(doctor::Doctor),
    /// The same as `config check`
    Validate(config::Check),
    /// Access tokens of callers
    #[command(subcommand, alias = "tokens")]
    Token(token::Token),
    /// Service tokens: what clients show at a front door
    #[command(subcommand, alias = "service-tokens")]
    ServiceToken(service_token::ServiceToken),
    /// Projects that tokens belong to
    #[command(subcommand, alias = "projects")]
    Project(project::Project),
    /// Tenants that projects belong to
    #[command(subcommand, alias = "tenants")]
    Tenant(tenant::Tenant),
    /// Management keys, and new keys of any kind
    #[command(subcommand, alias = "keys")]
    Key(key::Key),
    /// People who operate, with names and passwords
    #[command(subcommand, alias = "operators")]
    Operator(operator::Operator),
    /// Sign in at a management address, and keep the session in a file
    Login(session::Login),
    /// Sign out, and delete the file
    Logout(session::Logout),
    /// Who is signed in
    #[command(subcommand, alias = "console-sessions")]
    ConsoleSession(session::ConsoleSession),
    /// What an origin sees of the gateway
    #[command(subcommand)]
    Origin(origin::Origin),
    /// Certificates of our own listeners
    #[command(subcommand)]
    Tls(tls::Tls),
    /// Breakers of upstreams that keep failing
    #[command(subcommand, alias = "breakers")]
    Breaker(breaker::Breaker),
    /// Addresses that may or may not come
    #[command(subcommand)]
    Ip(ip::Ip),
    /// Addresses that failed to authenticate too often
    #[command(subcommand, alias = "lockouts")]
    Lockout(lockout::Lockout),
    /// Tell callers to come back later
    #[command(subcommand)]
    Maintenance(maintenance::Maintenance),
    /// The keys that secrets in the store are sealed under
    #[command(subcommand)]
    Vault(vault::Vault),
    /// Work that takes longer than a request
    #[command(subcommand, alias = "jobs")]
    Job(job::Job),
    /// How a running gateway is doing
    Status(status::Status),
    /// Who the key is that is used here, and what it may do
    Whoami(status::Whoami),
    /// Print the description of the management API (OpenAPI 3.1)
    Openapi,
}

/// The configuration, and an operation of llm-router's.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
struct ConfigArgs {
    #[command(subcommand)]
    command: Option<config::Config>,
    #[command(flatten)]
    set_master_key: master_key::SetMasterKey,
}

/// Where the running gateway is, and how to print what it says.
#[derive(Args, Debug)]
pub(crate) struct Connection {
    /// The data folder of the gateway, whose local socket is used
    #[arg(long, default_value = "./data", value_name = "DIR")]
    data_dir: PathBuf,
    /// The management address, such as `https://gateway.example:8318`, instead of the local socket;
    /// the key comes from TOLLKEEP_MANAGEMENT_KEY or --key-file
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Certificates (PEM) to trust besides the system's, for https
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// A certificate (PEM) to show where the management address asks for one
    #[arg(long, value_name = "FILE", requires = "client_key_file")]
    client_cert_file: Option<PathBuf>,
    /// The key of that certificate (PEM, mode 0600)
    #[arg(long, value_name = "FILE", requires = "client_cert_file")]
    client_key_file: Option<PathBuf>,
    /// A file that holds the management key
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// The session that `tollkeep login` keeps in this file, instead of a key; needs --url
    #[arg(
        long,
        value_name = "FILE",
        requires = "url",
        conflicts_with = "key_file"
    )]
    session_file: Option<PathBuf>,
    /// Print JSON, also on a terminal
    #[arg(long)]
    json: bool,
}

impl Connection {
    /// To this address, or by the local socket of `./data`.
    fn to(url: Option<String>, json: bool) -> Self {
        Self {
            data_dir: PathBuf::from("./data"),
            url,
            ca_file: None,
            client_cert_file: None,
            client_key_file: None,
            key_file: None,
            session_file: None,
            json,
        }
    }

    /// Whether JSON is asked for.
    const fn json(&self) -> bool {
        self.json
    }
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
            Command::Config(config) => match config.command {
                Some(command) => command.run(),
                None => config.set_master_key.run(),
            },
            Command::WorkerKey(key) => key.run(),
            Command::Manage(manage) => manage.run(),
            Command::Doctor(doctor) => doctor.run(),
            Command::Validate(check) => check.run(),
            Command::Token(token) => token.run(),
            Command::ServiceToken(token) => token.run(),
            Command::Project(project) => project.run(),
            Command::Tenant(tenant) => tenant.run(),
            Command::Key(key) => key.run(),
            Command::Operator(operator) => operator.run(),
            Command::Login(login) => login.run(),
            Command::Logout(logout) => logout.run(),
            Command::ConsoleSession(session) => session.run(),
            Command::Origin(origin) => origin.run(),
            Command::Tls(tls) => tls.run(),
            Command::Breaker(breaker) => breaker.run(),
            Command::Ip(ip) => ip.run(),
            Command::Lockout(lockout) => lockout.run(),
            Command::Maintenance(maintenance) => maintenance.run(),
            Command::Vault(vault) => vault.run(),
            Command::Job(job) => job.run(),
            Command::Status(status) => status.run(),
            Command::Whoami(whoami) => whoami.run(),
            Command::Openapi => {
                output::json(&tollkeep_admin::openapi(env!("CARGO_PKG_VERSION")));
                Ok(())
            }
        }
    }
}

impl Connection {
    /// The management key, of its file or the environment.
    fn key(&self) -> anyhow::Result<Secret> {
        let key = match &self.key_file {
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                Some(Secret::new(text.trim()))
            }
            None => tollkeep_config::management_key(),
        };
        key.ok_or_else(|| {
            let how = "no management key: set TOLLKEEP_MANAGEMENT_KEY or give --key-file";
            Failed::new(exit::NOT_PERMITTED, how).into()
        })
    }

    /// The certificate to show, if there is one.
    fn client_pair(&self) -> Option<PairFiles> {
        let (cert, key) = (&self.client_cert_file, &self.client_key_file);
        Some(PairFiles {
            cert_file: cert.clone()?,
            key_file: key.clone()?,
            names: Vec::new(),
            may_be_over: false,
        })
    }
}

/// `https://host:port`, `http://address:port` or `address:port`.
fn management_target(
    text: &str,
    ca_file: Option<&Path>,
    identity: Option<&PairFiles>,
) -> anyhow::Result<Target> {
    let want = |example: &str| {
        let problem = format!("--url: want an address like {example}, got `{text}`");
        Failed::new(2, problem)
    };
    if let Some(authority) = text.strip_prefix("https://") {
        let authority = authority.trim_end_matches('/');
        let authority: tollkeep_types::Authority = authority
            .parse()
            .map_err(|_| want("https://gateway.example:8318"))?;
        let roots = match identity {
            Some(pair) => client_showing(ca_file, pair, SystemClock::new().wall()),
            None => tollkeep_net::tls::client(ca_file),
        };
        let roots = roots.map_err(|error| Failed::new(exit::INVALID, error.to_string()))?;
        return Ok(Target::Tls {
            host: authority.host().to_owned(),
            port: authority.port().unwrap_or(443),
            roots,
        });
    }
    let bare = text.strip_prefix("http://").unwrap_or(text);
    let bare = bare.trim_end_matches('/').replace("localhost", "127.0.0.1");
    let addr: SocketAddr = bare.parse().map_err(|_| want("http://127.0.0.1:8318"))?;
    Ok(Target::Tcp(addr))
}

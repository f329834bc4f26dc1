//! The command line: a file a command.

mod account;
mod audit;
mod audit_cat;
mod audit_events;
mod audit_export;
mod audit_fingerprint;
mod audit_ledger;
mod audit_prune;
mod audit_report;
mod audit_verify;
mod breaker;
mod budget;
mod cache;
mod challenges;
mod client;
mod completion;
mod config;
mod connection;
mod cooldown;
mod credential;
mod demo;
mod doctor;
mod export;
mod given;
mod hold;
mod import;
mod ip;
mod job;
mod key;
mod ledger;
mod lockout;
mod log;
pub(crate) mod logs;
mod maintenance;
mod man;
mod manage;
mod master_key;
mod noun;
mod operator;
mod origin;
mod output;
mod own_key;
mod payment;
mod price;
mod price_own;
mod price_quarantine;
mod profile;
mod project;
mod quote;
mod rates;
mod receipt;
mod route;
mod secret_input;
mod serve;
mod service_token;
mod session;
mod status;
mod tenant;
mod tls;
mod token;
mod usage;
mod vault;

use clap::{Args, ColorChoice, CommandFactory, FromArgMatches, Parser, Subcommand};
use connection::Connection;

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
    /// Go on without a question
    #[arg(long, global = true, hide = true)]
    yes: bool,
    /// Print without colours, as where NO_COLOR is set
    #[arg(long, global = true, hide = true)]
    no_color: bool,
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
    /// Rewrite another gateway's configuration as ours
    Import(import::Import),
    /// Access tokens of callers
    #[command(subcommand, alias = "tokens")]
    Token(token::Token),
    /// Service tokens: what clients show at a front door
    #[command(subcommand, alias = "service-tokens")]
    ServiceToken(service_token::ServiceToken),
    /// Projects that tokens belong to
    #[command(subcommand, alias = "projects")]
    Project(project::Project),
    /// Credentials of providers
    #[command(subcommand, alias = "credentials")]
    Credential(credential::Credential),
    /// Tenants that projects belong to
    #[command(subcommand, alias = "tenants")]
    Tenant(tenant::Tenant),
    /// Management keys, and new keys of any kind
    #[command(subcommand, alias = "keys")]
    Key(key::Key),
    /// Keys of your own, where you are signed in as an operator
    #[command(subcommand, alias = "own-keys")]
    OwnKey(own_key::OwnKey),
    /// People who operate, with names and passwords
    #[command(subcommand, alias = "operators")]
    Operator(operator::Operator),
    /// Sessions of operators: sign in and out, and who is signed in
    #[command(subcommand, alias = "console-sessions")]
    ConsoleSession(session::ConsoleSession),
    /// What an origin sees of the gateway
    #[command(subcommand)]
    Origin(origin::Origin),
    /// Signed receipts of calls
    #[command(subcommand)]
    Receipt(receipt::ReceiptCommand),
    /// Certificates of our own listeners
    #[command(subcommand)]
    Tls(tls::Tls),
    /// What becomes of requests
    #[command(subcommand, alias = "routes")]
    Route(route::Route),
    /// Breakers of upstreams that keep failing
    #[command(subcommand, alias = "breakers")]
    Breaker(breaker::Breaker),
    /// For what credentials of providers are left alone
    #[command(subcommand, alias = "cooldowns")]
    Cooldown(cooldown::Cooldown),
    /// What happened, from the audit log
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Answers that are kept
    #[command(subcommand)]
    Cache(cache::Cache),
    /// Payments of callers without a token
    #[command(subcommand, alias = "payments")]
    Payment(payment::Payment),
    /// What models cost
    #[command(subcommand, alias = "prices")]
    Price(price::Price),
    /// Limits of what calls may cost or use
    #[command(subcommand, alias = "budgets")]
    Budget(budget::Budget),
    /// Prepaid accounts of those who call
    #[command(subcommand, alias = "accounts")]
    Account(account::Account),
    /// What is taken aside for calls, and what nobody told the cost of
    #[command(subcommand, alias = "holds")]
    Hold(hold::Hold),
    /// What calls used and cost
    #[command(subcommand)]
    Usage(usage::Usage),
    /// What somebody has spent, and the budgets that count it
    #[command(subcommand)]
    Spend(usage::Spend),
    /// The rows of money
    #[command(subcommand)]
    Ledger(ledger::Ledger),
    /// Addresses that may or may not come
    #[command(subcommand)]
    Ip(ip::Ip),
    /// Addresses that failed to authenticate too often
    #[command(subcommand, alias = "lockouts")]
    Lockout(lockout::Lockout),
    /// How much the process log tells
    #[command(subcommand)]
    Log(log::Log),
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
    /// Remember a gateway and its key
    Login(profile::Login),
    /// Forget a gateway and its key
    Logout(profile::Logout),
    /// Print the description of the management API (OpenAPI 3.1)
    Openapi,
    /// Print what makes a shell complete commands, as `source <(tollkeep completion bash)`
    Completion(completion::Completion),
    /// Print the manual page, or write one for every command into a folder
    Man(man::Man),
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

impl Cli {
    /// What was asked for. Ends the process where that is help, a mistake, or a shell's question.
    pub(crate) fn read() -> Self {
        completion::answer(Self::command);
        let words = tollkeep_config::arguments();
        let is_plain = words.iter().any(|word| word == "--no-color");
        let color = if is_plain {
            ColorChoice::Never
        } else {
            ColorChoice::Auto
        };
        let matches = Self::command().color(color).get_matches();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
    }

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
            Command::Import(import) => import.run(),
            Command::Token(token) => token.run(),
            Command::ServiceToken(token) => token.run(),
            Command::Project(project) => project.run(),
            Command::Credential(credential) => credential.run(),
            Command::Tenant(tenant) => tenant.run(),
            Command::Key(key) => key.run(),
            Command::OwnKey(key) => key.run(),
            Command::Operator(operator) => operator.run(),
            Command::ConsoleSession(session) => session.run(),
            Command::Origin(origin) => origin.run(),
            Command::Receipt(receipt) => receipt.run(),
            Command::Tls(tls) => tls.run(),
            Command::Route(route) => route.run(),
            Command::Breaker(breaker) => breaker.run(),
            Command::Cooldown(cooldown) => cooldown.run(),
            Command::Audit(audit) => audit.run(),
            Command::Cache(cache) => cache.run(),
            Command::Payment(payment) => payment.run(),
            Command::Price(price) => price.run(),
            Command::Budget(budget) => budget.run(),
            Command::Account(account) => account.run(),
            Command::Hold(hold) => hold.run(),
            Command::Usage(usage) => usage.run(),
            Command::Spend(spend) => spend.run(),
            Command::Ledger(ledger) => ledger.run(),
            Command::Ip(ip) => ip.run(),
            Command::Lockout(lockout) => lockout.run(),
            Command::Log(log) => log.run(),
            Command::Maintenance(maintenance) => maintenance.run(),
            Command::Vault(vault) => vault.run(),
            Command::Job(job) => job.run(),
            Command::Status(status) => status.run(),
            Command::Whoami(whoami) => whoami.run(),
            Command::Login(login) => login.run(),
            Command::Logout(logout) => logout.run(),
            Command::Completion(completion) => completion.run(),
            Command::Man(man) => man.run(Self::command()),
            Command::Openapi => {
                output::json(&tollkeep_admin::openapi(env!("CARGO_PKG_VERSION")));
                Ok(())
            }
        }
    }
}

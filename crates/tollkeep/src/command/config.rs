//! `tollkeep config …`

use super::client::Client;
use super::{Connection, challenges, output, quote, rates};
use crate::assemble::Loader;
use crate::exit::{self, Failed};
use crate::system::SystemClock;
use clap::{Args, Subcommand};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;
use tollkeep_config::{
    ConfigError, ConfigErrors, Documents, Env, LoadRequest, Loaded, Place, Settings, ShowOptions,
};
use tollkeep_crypto::{key_text, weak};
use tollkeep_types::Clock;

/// Where the configuration comes from.
#[derive(Args, Debug)]
pub(crate) struct Source {
    /// The configuration file; else TOLLKEEP_CONFIG, ./tollkeep.yaml, /etc/tollkeep/tollkeep.yaml
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Set one key, as server.port=8080; may be given again
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
    /// A file of environment variables, read before the real ones
    #[arg(long, value_name = "FILE")]
    env_file: Option<PathBuf>,
}

impl Source {
    /// Loads the settings.
    ///
    /// # Errors
    /// Every fault of the configuration at once, one a line.
    pub(crate) fn load(&self) -> anyhow::Result<Loaded> {
        load(&self.request()).map_err(|faults| {
            let message = format!("the configuration is not valid:\n{faults}");
            Failed::new(exit::INVALID, message).into()
        })
    }

    /// Sets one more key, above all others.
    pub(crate) fn set(&mut self, key: &str, value: &str) {
        self.sets.push(format!("{key}={value}"));
    }

    /// Loads the settings to look at them only, also such as no gateway would start with because
    /// nobody can pay their prices yet.
    ///
    /// # Errors
    /// Every other fault of the configuration at once, one a line.
    pub(crate) fn look(&self) -> anyhow::Result<Loaded> {
        let request = LoadRequest {
            looks_only: true,
            ..self.request()
        };
        load(&request).map_err(|faults| {
            let message = format!("the configuration is not valid:\n{faults}");
            Failed::new(exit::INVALID, message).into()
        })
    }

    /// Loads the settings as they are before documents are fetched.
    ///
    /// # Errors
    /// Every other fault of the configuration at once, one a line.
    pub(crate) fn load_before_fetching(&self) -> anyhow::Result<Loaded> {
        let request = LoadRequest {
            documents: Documents::IfFetched,
            ..self.request()
        };
        load(&request).map_err(|faults| {
            let message = format!("the configuration is not valid:\n{faults}");
            Failed::new(exit::INVALID, message).into()
        })
    }

    /// This file, and nothing besides.
    pub(crate) fn of_file(file: PathBuf) -> Self {
        Self {
            config: Some(file),
            sets: Vec::new(),
            env_file: None,
        }
    }

    /// What routes would cost, also where nobody could pay it yet.
    fn prices(&self) -> Vec<Value> {
        let looked = self.look();
        looked.map_or_else(|_| Vec::new(), |loaded| quote::prices(&loaded.settings))
    }

    /// What the models cost that the configuration names.
    fn rates(&self) -> rates::Shown {
        let now = SystemClock::new().wall();
        let looked = self.look();
        looked.map_or_else(
            |_| rates::Shown::default(),
            |loaded| rates::rates(&loaded.settings, now),
        )
    }

    /// Whether anything says where the configuration is.
    pub(crate) fn is_given(&self) -> bool {
        self.config.is_some() || !self.sets.is_empty() || self.env_file.is_some()
    }

    /// How to load the same again, for a gateway that runs with what was loaded: from the file
    /// that was found then, and from no other if it is gone.
    pub(crate) fn again(&self, loaded: &Loaded) -> Loader {
        let request = LoadRequest {
            file: loaded.path.clone(),
            running: true,
            ..self.request()
        };
        Loader::new(loaded, move || load(&request))
    }

    fn request(&self) -> LoadRequest {
        LoadRequest {
            file: self.config.clone(),
            sets: self.sets.clone(),
            env: Env::process(),
            working_dir: PathBuf::from("."),
            env_file: self.env_file.clone(),
            running: false,
            looks_only: false,
            documents: Documents::Needed,
        }
    }
}

/// Loads settings and judges the keys in them.
fn load(request: &LoadRequest) -> Result<Loaded, ConfigErrors> {
    let loaded = tollkeep_config::load(request)?;
    let faults = key_faults(&loaded.settings);
    if faults.is_empty() {
        Ok(loaded)
    } else {
        Err(ConfigErrors(faults))
    }
}

/// What is wrong with the keys that an operator chose: only `crypto` can judge them.
fn key_faults(settings: &Settings) -> Vec<ConfigError> {
    let management = settings.management.key.as_ref();
    let management = management.and_then(|key| weak::check(key.expose()).err());
    let encryption = settings.auth.encryption_key.as_ref();
    let encryption = encryption.and_then(|key| key_text::parse(key.expose()).err());
    let fault = |key: &str, problem: String| ConfigError {
        key: key.to_owned(),
        problem,
        place: Place::Nowhere {},
    };
    let management = management.map(|problem| fault("management.key", problem.to_string()));
    let encryption = encryption.map(|problem| fault("auth.encryption.key", problem.to_string()));
    management.into_iter().chain(encryption).collect()
}

/// Look at the configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Check it: every fault at once
    Check(Check),
    /// Print what is in force, secrets hidden
    Show(Show),
    /// Print the JSON Schema, for editors
    Schema,
    /// Print an annotated example
    Example(Example),
    /// Print the reference of all keys
    Reference,
    /// Print what a running gateway uses, secrets hidden
    Get(Get),
    /// Have a running gateway take its configuration over anew, all or nothing
    Reload(Reload),
}

/// What to check.
#[derive(Args, Debug)]
pub(crate) struct Check {
    /// The file
    file: Option<PathBuf>,
    /// Check as in this environment
    #[arg(long, value_parser = ["development", "production"])]
    environment: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: Source,
}

/// What to show.
#[derive(Args, Debug)]
pub(crate) struct Show {
    /// Tell where each value comes from
    #[arg(long)]
    origin: bool,
    /// Show the defaults too
    #[arg(long)]
    defaults: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    source: Source,
}

/// What of which gateway.
#[derive(Args, Debug)]
pub(crate) struct Get {
    /// Show the defaults too
    #[arg(long)]
    defaults: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Which gateway.
#[derive(Args, Debug)]
pub(crate) struct Reload {
    #[command(flatten)]
    connection: Connection,
}

/// Which example.
#[derive(Args, Debug)]
pub(crate) struct Example {
    /// With every key and its default
    #[arg(long)]
    full: bool,
}

impl Config {
    /// Runs the command.
    ///
    /// # Errors
    /// The configuration is not valid.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Check(check) => check.run(),
            Self::Show(show) => {
                let loaded = show.source.load()?;
                let options = ShowOptions {
                    origin: show.origin,
                    defaults: show.defaults,
                    json: show.json,
                };
                print!("{}", tollkeep_config::show(&loaded, options));
                Ok(())
            }
            Self::Schema => {
                println!("{}", tollkeep_config::schema());
                Ok(())
            }
            Self::Example(example) => {
                print!("{}", tollkeep_config::example(example.full));
                Ok(())
            }
            Self::Reference => {
                print!("{}", tollkeep_config::reference());
                Ok(())
            }
            Self::Get(get) => get.run(),
            Self::Reload(reload) => reload.run(),
        }
    }
}

impl Get {
    /// # Errors
    /// The gateway can't be reached, or refuses.
    fn run(self) -> anyhow::Result<()> {
        let behind = if self.defaults { "?defaults=true" } else { "" };
        let client = Client::new(&self.connection)?;
        let shown = client.get(&format!("/api/v1/config{behind}"))?;
        if output::wants_json(self.connection.json) {
            output::json(&shown);
            return Ok(());
        }
        let path = shown.get("path").and_then(Value::as_str).unwrap_or("none");
        let at = |name: &str| shown.get(name).cloned().unwrap_or_default();
        println!("# file: {path}\n# revision: {}", at("revision"));
        print!("{}", tollkeep_config::yaml(&at("values")));
        Ok(())
    }
}

impl Reload {
    /// Asks the gateway, and tells.
    ///
    /// # Errors
    /// The gateway can't be reached, or refuses the settings.
    fn run(self) -> anyhow::Result<()> {
        let client = Client::new(&self.connection)?;
        let taken = client.post("/api/v1/config/reload", &serde_json::json!({}))?;
        if output::wants_json(self.connection.json) {
            output::json(&taken);
            return Ok(());
        }
        let warnings = taken.get("warnings").and_then(Value::as_array);
        for warning in warnings.into_iter().flatten().filter_map(Value::as_str) {
            eprintln!("warning: {warning}");
        }
        output::object(
            &taken,
            &[("generation", "/generation"), ("loaded", "/loaded_at")],
        );
        Ok(())
    }
}

impl Check {
    /// Checks, and tells.
    ///
    /// # Errors
    /// The configuration is not valid.
    pub(crate) fn run(mut self) -> anyhow::Result<()> {
        if self.file.is_some() {
            self.source.config = self.file;
        }
        if let Some(environment) = &self.environment {
            self.source.set("environment", environment);
        }
        let loaded = self.source.load();
        let prices = self.source.prices();
        let rates = self.source.rates();
        if self.json {
            let (valid, problems) = match &loaded {
                Ok(_) => (true, Vec::new()),
                Err(error) => (
                    false,
                    error
                        .to_string()
                        .lines()
                        .skip(1)
                        .map(str::to_owned)
                        .collect(),
                ),
            };
            let mut warnings = loaded
                .as_ref()
                .map(|loaded| loaded.warnings.clone())
                .unwrap_or_default();
            warnings.extend(rates.warnings.iter().cloned());
            if let Ok(loaded) = &loaded {
                warnings.extend(of_payments(&loaded.settings));
            }
            output::json(&serde_json::json!({
                "valid": valid, "errors": problems, "warnings": warnings, "prices": prices,
                "models": rates.models,
            }));
        } else {
            if !prices.is_empty() {
                quote::print(&prices);
            }
            if !rates.models.is_empty() {
                rates::print(&rates.models);
            }
        }
        let loaded = loaded?;
        if !self.json {
            for warning in loaded.warnings.iter().chain(&rates.warnings) {
                eprintln!("warning: {warning}");
            }
            for warning in of_payments(&loaded.settings) {
                eprintln!("warning: {warning}");
            }
            match &loaded.path {
                Some(path) => println!("{} is valid", path.display()),
                None => println!("no file found: the defaults and the environment are valid"),
            }
        }
        Ok(())
    }
}

/// What is worth knowing before somebody pays.
fn of_payments(settings: &Settings) -> Vec<String> {
    let mut warnings = challenges::cut(settings);
    warnings.extend(payees(settings));
    warnings
}

/// Who is paid, where real money comes: nobody sees from one gateway's settings what another one's are.
fn payees(settings: &Settings) -> Option<String> {
    let routes = settings.routes.iter().filter(|route| route.is_paid());
    let sales = routes.filter_map(|route| route.sale.as_ref());
    let paid: BTreeSet<String> = sales
        .flat_map(|sale| {
            let usual = sale.accepts.iter().map(|accept| accept.pay_to);
            let by_rule = sale.pricing.rules().iter().filter_map(|rule| rule.pay_to);
            usual.chain(by_rule)
        })
        .map(|address| address.to_string())
        .collect();
    if paid.is_empty() || settings.payments.sandbox {
        return None;
    }
    let paid: Vec<String> = paid.into_iter().collect();
    Some(format!(
        "payments are received by {}: a gateway that does not share this one's store must not receive by the same address, or a \
         payment that was settled through one could be claimed at the other",
        paid.join(", ")
    ))
}

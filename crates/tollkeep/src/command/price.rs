//! `tollkeep price …`

use super::client::Client;
use super::config::Source;
use super::price_own::{Import, Override, Overrides, Restore, Set};
use super::price_quarantine::{Ack, Quarantine};
use super::token::path_segment;
use super::{Connection, output};
use crate::assemble::prices;
use crate::exit::{self, Failed};
use crate::system::SystemClock;
use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use std::path::PathBuf;
use tollkeep_gateway::BoundOptions;
use tollkeep_ledger::bound::{Options, bound};
use tollkeep_ledger::price::{Book, Cost, Provider};
use tollkeep_llm::body::CallView;
use tollkeep_llm::demand::{self, Form, Known};
use tollkeep_llm::surface::UsageDialect;
use tollkeep_llm::usage::{Asked, BatchForm, BatchLine, BodyUsage};
use tollkeep_store::KeptPrices;
use tollkeep_types::usage::{Line, UsageReport};
use tollkeep_types::{Clock, WallMillis};

/// What models cost
#[derive(Debug, Subcommand)]
pub(crate) enum Price {
    /// List models that have a price
    List(List),
    /// Show what a model costs, and who says so
    Show(Show),
    /// Tell what a request may cost at most, and which cap makes it so
    Bound(Bound),
    /// Tell what an answer cost
    Cost(CostOf),
    /// List prices of your own that were written while the gateway ran
    Overrides(Overrides),
    /// Show one of them
    Override(Override),
    /// Write a price of your own, for calls from now on
    Set(Set),
    /// Take a price of your own away
    Unset(Override),
    /// Take in a newer price table that is signed
    Import(Import),
    /// Use the shipped price table again
    Restore(Restore),
    /// List models whose provider billed more than a call was bounded to
    Quarantine(Quarantine),
    /// Say that such a model was looked after: hard budgets let it pass again
    Ack(Ack),
}

/// Models that have a price.
#[derive(Args, Debug)]
pub(crate) struct List {
    /// Only of this provider, by kind or name
    #[arg(long)]
    provider: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

/// One of them.
#[derive(Args, Debug)]
pub(crate) struct Show {
    /// Its name
    model: String,
    /// The provider, where several serve such a model
    #[arg(long)]
    provider: Option<String>,
    /// Another instant than now, as 2026-01-31T00:00:00Z
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Another service than the usual one: flex, priority, batch
    #[arg(long)]
    service: Option<String>,
    #[command(flatten)]
    connection: Connection,
}

/// Which price is meant, without a running gateway.
#[derive(Args, Debug)]
struct Which {
    /// The model
    #[arg(long)]
    model: String,
    /// The provider, by its name in the configuration or by its kind
    #[arg(long)]
    provider: String,
    /// Another instant than now, as 2026-01-31T00:00:00Z
    #[arg(long, value_name = "TIME")]
    at: Option<WallMillis>,
    /// Take prices from the configuration too, not only from the shipped table
    #[arg(long)]
    configured: bool,
    #[command(flatten)]
    source: Source,
    /// Print JSON, also on a terminal
    #[arg(long)]
    json: bool,
}

/// The bound of a request.
#[derive(Args, Debug)]
pub(crate) struct Bound {
    /// A file with the body of the request
    file: PathBuf,
    /// The call: chat, completions, responses, embeddings, images, speech, messages,
    /// gemini
    #[arg(long)]
    surface: Surface,
    /// A limit of output tokens, as a route may have
    #[arg(long, value_name = "N")]
    max_output_tokens: Option<u64>,
    /// The upstream may choose a dearer service
    #[arg(long)]
    unpinned: bool,
    #[command(flatten)]
    which: Which,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Surface {
    Chat,
    Completions,
    Responses,
    Embeddings,
    Images,
    Speech,
    Messages,
    Gemini,
}

/// The cost of an answer.
#[derive(Args, Debug)]
pub(crate) struct CostOf {
    /// A file with the body of the answer
    file: PathBuf,
    /// How it tells its usage
    #[arg(long)]
    dialect: Dialect,
    /// A file with the body of its request, where that decides about the price
    #[arg(long, value_name = "FILE")]
    request: Option<PathBuf>,
    /// The status of the answer
    #[arg(long, default_value_t = 200)]
    status: u16,
    #[command(flatten)]
    which: Which,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Dialect {
    Chat,
    Responses,
    Embeddings,
    Messages,
    Gemini,
    Images,
    Transcription,
    Speech,
    Realtime,
    OpenaiBatch,
    AnthropicBatch,
}

const COLUMNS: &[(&str, &str)] = &[
    ("PROVIDER", "/provider"),
    ("MODEL", "/model"),
    ("INPUT $/M", "/in_text_usd_per_million"),
    ("OUTPUT $/M", "/out_text_usd_per_million"),
    ("SOURCE", "/source"),
];

const MEMBERS: &[(&str, &str)] = &[
    ("model", "/model"),
    ("provider", "/provider"),
    ("source", "/source"),
    ("table", "/table"),
    ("version", "/version"),
    ("markup", "/markup"),
    ("since", "/from"),
    ("service", "/service"),
    ("max input", "/max_input"),
    ("max output", "/max_output"),
];

const RATES: &[(&str, &str)] = &[
    ("CLASS", "/class"),
    ("PICO-USD", "/pico_usd"),
    ("$/M", "/usd_per_million"),
];

const DIFFERENCES: &[(&str, &str)] = &[
    ("DIFFERENCE", "/class"),
    ("PICO-USD", "/pico_usd"),
    ("SHIPPED", "/shipped_pico_usd"),
];

const BOUND: &[(&str, &str)] = &[
    ("input tokens", "/input_tokens"),
    ("output tokens", "/output_tokens"),
    ("at most", "/bound_usd"),
    ("cap field", "/cap/field"),
    ("cap", "/cap/tokens"),
    ("removed field", "/cap/removed"),
    ("thinking budget", "/thinking_budget"),
    ("price version", "/price_version"),
];

const COST: &[(&str, &str)] = &[
    ("quality", "/quality"),
    ("reason", "/reason"),
    ("input tokens", "/input_tokens"),
    ("output tokens", "/output_tokens"),
    ("cost", "/cost_usd"),
    ("unpriced", "/unpriced"),
    ("price version", "/price_version"),
];

impl Price {
    /// Runs the command.
    ///
    /// # Errors
    /// The gateway refuses or can't be reached; a file can't be read; there is no bound or price.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::List(list) => list.run(),
            Self::Show(show) => show.run(),
            Self::Bound(bound) => bound.run(),
            Self::Cost(cost) => cost.run(),
            Self::Overrides(list) => list.run(),
            Self::Override(one) => one.show(),
            Self::Set(set) => set.run(),
            Self::Unset(one) => one.unset(),
            Self::Import(import) => import.run(),
            Self::Restore(restore) => restore.run(),
            Self::Quarantine(list) => list.run(),
            Self::Ack(ack) => ack.run(),
        }
    }
}

impl List {
    fn run(self) -> anyhow::Result<()> {
        let mut path = "/api/v1/prices".to_owned();
        if let Some(provider) = &self.provider {
            path += &format!("?provider={}", path_segment(provider));
        }
        let page = Client::new(&self.connection)?.get(&path)?;
        if output::wants_json(self.connection.json) {
            output::json(&page);
            return Ok(());
        }
        let rows = page.get("data").and_then(Value::as_array);
        let rows = rows.map(Vec::as_slice).unwrap_or_default();
        output::table(&rows.iter().collect::<Vec<_>>(), COLUMNS);
        Ok(())
    }
}

impl Show {
    fn run(self) -> anyhow::Result<()> {
        let asked = [
            ("provider", &self.provider),
            ("at", &self.at),
            ("service", &self.service),
        ];
        let given = asked.iter().filter_map(|(name, value)| {
            let value = path_segment(value.as_deref()?);
            Some(format!("{name}={value}"))
        });
        let query = given.collect::<Vec<_>>().join("&");
        let path = format!("/api/v1/prices/{}?{query}", path_segment(&self.model));
        let price = Client::new(&self.connection)?.get(path.trim_end_matches('?'))?;
        if output::wants_json(self.connection.json) {
            output::json(&price);
            return Ok(());
        }
        output::object(&price, MEMBERS);
        let rows = price.get("rates").and_then(Value::as_array);
        let rows = rows.map(Vec::as_slice).unwrap_or_default();
        output::table(&rows.iter().collect::<Vec<_>>(), RATES);
        let others = price.get("differences").and_then(Value::as_array);
        let others: Vec<&Value> = others.into_iter().flatten().collect();
        if others.is_empty() {
            println!("as in the shipped table");
        } else {
            output::table(&others, DIFFERENCES);
        }
        Ok(())
    }
}

impl Which {
    /// The prices, and who serves the model.
    fn book(&self) -> anyhow::Result<(Book, String, bool)> {
        let told = |problem: String| Failed::new(exit::INVALID, problem);
        let (settings, kind) = if self.configured {
            let settings = self.source.load()?.settings;
            let mut providers = settings.providers.iter();
            let of_name = providers.find(|provider| provider.name == self.provider);
            let kind = of_name.map(|of| (of.kind.name().to_owned(), of.self_hosted));
            (settings.prices, kind)
        } else {
            (tollkeep_config::settings::Prices::default(), None)
        };
        let (kind, self_hosted) = kind.unwrap_or((self.provider.clone(), false));
        Ok((
            prices::book(&settings, &KeptPrices::default()).map_err(told)?,
            kind,
            self_hosted,
        ))
    }

    fn at(&self) -> WallMillis {
        self.at.unwrap_or_else(|| SystemClock::new().wall())
    }
}

fn read(path: &PathBuf) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

impl Bound {
    fn run(self) -> anyhow::Result<()> {
        let body = read(&self.file)?;
        let refused = |problem: String| Failed::new(exit::INVALID, problem);
        CallView::read(&body, 128).map_err(|fault| refused(fault.message()))?;
        let form = match self.surface {
            Surface::Chat => Form::Chat,
            Surface::Completions => Form::Completions,
            Surface::Responses => Form::Responses,
            Surface::Embeddings => Form::Embeddings,
            Surface::Images => Form::Images,
            Surface::Speech => Form::Speech,
            Surface::Messages => Form::Messages,
            Surface::Gemini => Form::Gemini,
        };
        let (book, kind, self_hosted) = self.which.book()?;
        let provider = Provider {
            name: &self.which.provider,
            kind: &kind,
            self_hosted,
        };
        let model = &*self.which.model;
        let found = book.find(provider, model, self.which.at()).map_err(|_| {
            let problem = format!(
                "model_not_priced: `{model}` of `{}` has no price",
                provider.name
            );
            refused(problem)
        })?;
        let options = Options {
            max_output_tokens: self.max_output_tokens,
            pin_service: !self.unpinned,
            ..Options::default()
        };
        let known = if self.which.configured {
            BoundOptions::of(&self.which.source.load()?.settings).known
        } else {
            Known::default()
        };
        let bound = bound(&demand::read(form, &body, &known), found, &options)
            .map_err(|error| refused(format!("{}: {error}", error.code())))?;
        let cap = bound
            .cap
            .map(|cap| json!({"field": cap.field, "tokens": cap.tokens, "removed": cap.removed}));
        let shown = json!({
            "input_tokens": bound.input_tokens,
            "output_tokens": bound.output_tokens,
            "bound_nano_usd": bound.amount.get(),
            "bound_usd": bound.amount.to_string(),
            "cap": cap,
            "thinking_budget": bound.thinking_budget,
            "price_version": book.version().0,
            "price_sha256": book.version().1,
        });
        output::one(&shown, self.which.json, BOUND);
        Ok(())
    }
}

impl CostOf {
    fn run(self) -> anyhow::Result<()> {
        let body = read(&self.file)?;
        let asked = self.asked()?;
        let dialect = match self.dialect {
            Dialect::Chat => UsageDialect::Chat,
            Dialect::Responses => UsageDialect::Responses,
            Dialect::Embeddings => UsageDialect::Embeddings,
            Dialect::Messages => UsageDialect::Anthropic,
            Dialect::Gemini => UsageDialect::Gemini,
            Dialect::Images => UsageDialect::Images,
            Dialect::Transcription => UsageDialect::Transcription,
            Dialect::Speech => UsageDialect::Speech,
            Dialect::Realtime => UsageDialect::Realtime,
            Dialect::OpenaiBatch => {
                return self.show(&BatchLine::read(BatchForm::OpenAi, &asked, &body));
            }
            Dialect::AnthropicBatch => {
                return self.show(&BatchLine::read(BatchForm::Anthropic, &asked, &body));
            }
        };
        self.show(&BodyUsage::read(dialect, &asked, self.status, &body))
    }

    fn asked(&self) -> anyhow::Result<Asked> {
        let Some(path) = &self.request else {
            return Ok(Asked::default());
        };
        let request = read(path)?;
        let view = CallView::read(&request, 128)
            .map_err(|fault| Failed::new(exit::INVALID, fault.message()))?;
        let mut asked = Asked::of(&view);
        let request: Value = serde_json::from_slice(&request)?;
        let text = |name: &str| request.get(name).and_then(Value::as_str);
        let input = text("input").unwrap_or_default();
        asked.chars_in = u64::try_from(input.chars().count()).unwrap_or(u64::MAX);
        let (quality, size) = (text("quality"), text("size"));
        let (quality, size) = (quality.unwrap_or("standard"), size.unwrap_or("1024x1024"));
        asked.image_sort = Some(format!("{quality}:{size}").into());
        Ok(asked)
    }

    fn show(&self, read: &BodyUsage<'_>) -> anyhow::Result<()> {
        let (book, kind, self_hosted) = self.which.book()?;
        let cost = Cost {
            provider: Provider {
                name: &self.which.provider,
                kind: &kind,
                self_hosted,
            },
            asked: &self.which.model,
            served: read.model.as_deref(),
            at: self.which.at(),
        };
        let report = &read.told.report;
        let flags = read.told.flags.iter().map(|flag| flag.name());
        let mut shown = json!({
            "quality": report.quality().name(),
            "flags": flags.collect::<Vec<_>>(),
            "model": read.model,
        });
        let mut set = |name: &str, value: Value| {
            let members = shown.as_object_mut();
            members.and_then(|members| members.insert(name.to_owned(), value));
        };
        if let UsageReport::Unknown(why) = report {
            set("reason", why.name().into());
        }
        if let Some(lines) = report.lines() {
            set("input_tokens", lines.input().into());
            set("output_tokens", lines.output().into());
            set("lines", lines.iter().map(shown_line).collect());
            match cost.of(&book, lines) {
                Ok(amount) => {
                    set("cost_nano_usd", amount.get().into());
                    set("cost_usd", amount.to_string().into());
                }
                Err(why) => set("unpriced", why.to_string().into()),
            }
        }
        set("price_version", book.version().0.into());
        output::one(&shown, self.which.json, COST);
        Ok(())
    }
}

fn shown_line(line: &Line) -> Value {
    let tokens = line.usage.iter();
    let tokens = tokens.map(|(class, count)| (class.name().to_owned(), Value::from(count)));
    let units = line.usage.units();
    let units = units.map(|(unit, count)| (unit.name().to_owned(), Value::from(count)));
    let images = line.usage.images();
    let images = images.map(|made| (format!("image:{}", made.sort), Value::from(made.count)));
    let usage: serde_json::Map<String, Value> = tokens.chain(units).chain(images).collect();
    json!({"model": line.model, "service": line.service.name(), "usage": usage})
}

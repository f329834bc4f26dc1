//! Budgets: limits of what calls may cost or use over a time (LED-60, LED-61), and how they are
//! written down.

use super::budget_scope::{BudgetScope, ScopeKind};
use super::budget_text::{
    COUNTS, Count, UNITS, Unit, WindowKind, WindowText, amount, joined, measure,
};
use super::credential_tenant::read_tenant;
use super::{CredentialTenant, Environment};
use crate::check::Checks;
use crate::field::{KindExt, OnOrOff, listed};
use crate::kind::{
    Kind, Limit, Parsed, choice, duration, limit, list, millis, parsed, switch, whole,
};
use crate::reader::keys;
use crate::tree::KeyPath;
use std::collections::HashSet;
use std::time::Duration;
use tollkeep_ledger::amount::{Amount, Measure};
use tollkeep_ledger::budget::{Durability, OnShort};
use tollkeep_ledger::row::Enforcement;
use tollkeep_ledger::window::{Period, Window, Zone};
use tollkeep_types::usage::Unit as BilledUnit;

const DURABILITIES: [(&str, Durability); 2] =
    [("lease", Durability::Lease), ("strict", Durability::Strict)];
const RECEIPTS: [(&str, ReceiptsMode); 3] = [
    ("off", ReceiptsMode::Off),
    ("on-request", ReceiptsMode::OnRequest),
    ("all", ReceiptsMode::All),
];
const USAGES: [(&str, UsageMode); 2] = [("all", UsageMode::All), ("counted", UsageMode::Counted)];
const ENFORCEMENTS: [(&str, Enforcement); 3] = [
    ("hard", Enforcement::Hard),
    ("soft", Enforcement::Soft),
    ("observe", Enforcement::Observe),
];
const SHORTS: [(&str, OnShort); 2] = [("refuse", OnShort::Refuse), ("shrink", OnShort::Shrink)];
const RESETS: [(&str, Option<Period>); 4] = [
    ("monthly", Some(Period::Month)),
    ("daily", Some(Period::Day)),
    ("weekly", Some(Period::Week)),
    ("never", None),
];
const BILLED_UNITS: [(&str, BilledUnit); 6] = [
    ("web_search", BilledUnit::WebSearch),
    ("web_fetch", BilledUnit::WebFetch),
    ("file_search", BilledUnit::FileSearch),
    ("code_session", BilledUnit::CodeSession),
    ("grounded_prompt", BilledUnit::GroundedPrompt),
    ("page", BilledUnit::Page),
];
/// Most members and tools of each list.
const KNOWN_MAX: usize = 100;
/// Most budgets of the file.
const LIST_MAX: usize = 1_000;
/// Longest name, in characters.
const NAME_CHARS_MAX: usize = 100;
/// Limits of what calls may cost or use.
#[derive(Clone, Debug)]
pub struct Budgets {
    /// Whether a token must have a budget.
    pub required: bool,
    /// Most output of a call that says nothing, where a budget counts it.
    pub default_output_cap: u64,
    /// Below this cap no call is made smaller so that it fits.
    pub min_output_cap: u64,
    /// Whether models are refused whose provider billed more than a bound.
    pub quarantine: bool,
    /// Whether payers are charged for attempts that failed and were billed.
    pub charge_failed_attempts: bool,
    /// Whether the service is written into calls that a budget counts.
    pub pin_service: bool,
    /// Members of calls that are known besides, and change nothing about what calls cost.
    pub known_fields: Vec<String>,
    /// Types of tools that are known besides.
    pub known_tools: Vec<KnownTool>,
    /// Budgets of the file.
    pub list: Vec<BudgetSetting>,
}

/// A type of tools that calls may have besides.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KnownTool {
    /// The type.
    pub kind: String,
    /// Tokens that it adds to a prompt.
    pub extra_tokens: u64,
    /// What is billed for each use besides.
    pub unit: Option<BilledUnit>,
    /// Uses at most, where the upstream runs it by itself.
    pub max_uses: Option<u64>,
}

/// A budget of the file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BudgetSetting {
    /// Its name, unique in its tenant.
    pub name: String,
    /// Whose calls it counts.
    pub tenant: CredentialTenant,
    /// Which of them.
    pub scope: BudgetScope,
    /// What of them.
    pub measure: Measure,
    /// Up to how much.
    pub limit: Amount,
    /// In which time.
    pub window: Window,
    /// Whether the limit is kept.
    pub enforcement: Enforcement,
    /// What becomes of a call that does not fit.
    pub on_short: OnShort,
    /// How grants are written down.
    pub durability: Durability,
    /// Hundredths of the limit that are told of.
    pub warn: Vec<u8>,
}

keys! {
    /// How money of calls is written down.
    #[derive(Copy, Eq, PartialEq)]
    pub struct Ledger {
        /// How grants of budgets are written down that say nothing themselves: `lease`: a replica
        /// takes slices and grants from them in memory; `strict`: each call is written down before
        /// it is sent.
        durability: Durability = choice(&DURABILITIES).or(Durability::Lease),
        /// How long ends of calls wait for others to be written down with, while the database is
        /// busy.
        flush_ms: Duration = millis(0..=1_000).or(Duration::from_millis(5)),
        /// What is taken aside in the database for a call stays there for so long beyond the longest
        /// time that a call to its upstream may take (`timeouts.total_ms`), and is renewed each minute
        /// while the call lasts. If the process has ended, the call is then charged as if nobody knew
        /// its cost.
        hold_grace: Duration = duration(30_000..=3_600_000).or(Duration::from_secs(120)),
        /// Signed receipts of calls that a budget counts: `off`; `on-request`: one is made when its
        /// caller asks for it; `all`: one is made for each call, within some seconds.
        receipts: ReceiptsMode = choice(&RECEIPTS).or(ReceiptsMode::OnRequest),
        /// Which calls of models have a usage record in the store: `all`, or those that are `counted`
        /// by a budget or a prepaid account. A record takes about a kilobyte, and a core writes some
        /// tens of thousands in a second; the others still have their lines in the usage log.
        usage: UsageMode = choice(&USAGES).or(UsageMode::All),
    }
}

/// Which calls have a usage record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum UsageMode {
    /// Each.
    All,
    /// Those that a budget or a prepaid account counts.
    Counted,
}

/// When receipts are made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReceiptsMode {
    /// Never.
    Off,
    /// When somebody asks for one.
    OnRequest,
    /// For each call.
    All,
}

keys! {
    /// Limits of what calls may cost or use. A call must fit every budget that counts it; what it
    /// may cost at most is taken aside before it is sent.
    pub(crate) struct BudgetsFile {
        /// Whether a token on a provider with prices and without any budget is an error of
        /// `tollkeep doctor` instead of a warning. Default: in production.
        required: Option<bool> = switch().optional(),
        /// Most tokens of output of a call that names no cap, where a budget counts it. It is
        /// written into the call.
        default_output_cap: u64 = whole(1..=100_000_000).or(32_768),
        /// Where a budget makes a call smaller so that it fits (`on_short: shrink`), its cap of output
        /// is not lowered below this many tokens.
        min_output_cap: u64 = whole(1..=100_000_000).or(256),
        /// Whether a model is refused where hard budgets and prepaid accounts count money or tokens, after
        /// its provider has billed or brought more than a call was bounded to, until `tollkeep price ack`.
        quarantine: bool = switch().or(true),
        /// Who pays for attempts that failed at the upstream and were billed all the same: budgets and
        /// accounts of the call, or where this is off the operator (account `operator_loss`).
        charge_failed_attempts: bool = switch().or(true),
        /// Whether calls to OpenAI that a budget counts ask for the default service where they ask
        /// for none, so that a setting of the account can't make them dearer.
        pin_service: bool = switch().or(true),
        /// Top-level members of calls that change nothing about what calls cost, beside those that
        /// are known. A call with one that is not known can't be bounded, so where a budget of
        /// money or tokens counts it, it is refused. Members inside `generationConfig` are written
        /// with it, as `generationConfig.NAME`.
        known_fields: Vec<String> = list(parsed("name of a member", read_member)).or_empty(),
        known_tools: Vec<KnownToolFile> = listed(),
        /// Budgets that are there as long as they stand here. Others are made by `tollkeep budget
        /// create` and stay.
        list: Vec<BudgetFile> = listed(),
    }
}

keys! {
    /// A type of tools that calls may have, beside those that are known. A call with a tool that is
    /// not known can't be bounded.
    pub(crate) struct KnownToolFile {
        /// The type, as calls name it.
        kind as "type": Option<String> = parsed("type of a tool", read_member).required(),
        /// Tokens that it adds to a prompt.
        extra_tokens: u64 = whole(0..=10_000_000).or(0),
        /// What is billed for each use besides tokens: `web_search`, `web_fetch`, `file_search`,
        /// `code_session`, `grounded_prompt` or `page`. Needs `max_uses`, and a price.
        unit: Option<BilledUnit> = choice(&BILLED_UNITS).optional(),
        /// How often at most the upstream runs it in one call that does not say so itself
        /// (`max_uses` of the tool). Each use is bounded as another reading of the whole context.
        /// Without it the client runs the tool.
        max_uses: Option<u64> = whole(1..=1_000).optional(),
    }
}

keys! {
    /// A budget.
    pub(crate) struct BudgetFile {
        /// Its name. It stays the same budget while its name, scope, unit and window stay.
        name: Option<String> = parsed("name", read_name).required(),
        /// The tenant whose calls it counts: `default`, or an id.
        tenant: CredentialTenant = parsed("tenant", read_one_tenant).or(CredentialTenant::Default),
        /// Which of them: `tenant` for all, or one of `{project: ID OR SLUG}`, `{token: ID}`,
        /// `{route: NAME}`, `{provider: NAME}`, `{credential: ID}`, `{model: GLOB}`,
        /// `{tokens: [ID, …]}`, `{metadata: {KEY: VALUE}}`.
        scope: Option<BudgetScope> = ScopeKind.optional(),
        /// What is limited: `usd`, `tokens` or `requests`.
        unit: Unit = choice(&UNITS).or(Unit::Usd),
        /// Which tokens: `total`, `output`, or `billable`: without those read from a cache.
        count: Option<Count> = choice(&COUNTS).optional(),
        /// Up to how much. Money as `"$12.50"`, `"12.50"` or `{nano_usd: N}`, tokens and requests
        /// as whole numbers. 0 lets nothing pass.
        limit: Option<Limit> = limit().required(),
        /// In which time: `{calendar: day}` (or `week`, which begins on Monday, `month`, `year`),
        /// `{rolling: "24h"}` in whole minutes, or `lifetime`; also as `day`, `24h`.
        window: Option<WindowText> = WindowKind.required(),
        /// Where days of a calendar begin, by its name in the IANA database. Default: UTC.
        timezone: Option<Zone> = zone().optional(),
        /// `hard` refuses what does not fit and is never overspent. `soft` refuses when a guess of
        /// the call does not fit, so that it can be overspent by what is under way. `observe` counts and
        /// warns only.
        enforcement: Enforcement = choice(&ENFORCEMENTS).or(Enforcement::Hard),
        /// As `ledger.durability`, for this budget.
        durability: Option<Durability> = choice(&DURABILITIES).optional(),
        /// What becomes of a call that does not fit: `refuse`, or `shrink`: its cap of output is
        /// lowered until it fits, but not below `budgets.min_output_cap`.
        on_short: OnShort = choice(&SHORTS).or(OnShort::Refuse),
        /// Hundredths of the limit that are told of once a window, ascending.
        warn: Vec<u8> = list(percent()).or_empty(),
    }
}

keys! {
    /// What a provider may be used for in a time: a hard budget of the default tenant that counts
    /// its calls to this provider.
    pub(crate) struct QuotaFile {
        /// Up to how much: tokens or requests as a whole number, money as `"$12.50"`.
        limit: Option<Limit> = limit().required(),
        /// When it begins anew: `monthly`, `daily`, `weekly`, `never`.
        reset: Option<Period> = choice(&RESETS).or(Some(Period::Month)),
        /// What is limited: `tokens`, `requests` or `usd`.
        unit: Unit = choice(&UNITS).or(Unit::Tokens),
        /// Where days of a calendar begin, by its name in the IANA database. Default: UTC.
        timezone: Option<Zone> = zone().optional(),
    }
}

/// A percentage is written in a list.
fn percent() -> impl Kind<Value = u8> {
    whole(1..=100)
}

fn read_name(text: &str) -> Result<String, String> {
    let is_fit = !text.trim().is_empty()
        && text.chars().count() <= NAME_CHARS_MAX
        && !text.chars().any(char::is_control);
    if is_fit {
        Ok(text.to_owned())
    } else {
        Err("want a name of 1 to 100 characters".to_owned())
    }
}

fn read_member(text: &str) -> Result<String, String> {
    let is_fit = !text.is_empty()
        && text.len() <= NAME_CHARS_MAX
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');
    if is_fit {
        Ok(text.to_owned())
    } else {
        Err("want 1 to 100 characters, without blanks, quotes and backslashes".to_owned())
    }
}

fn read_one_tenant(text: &str) -> Result<CredentialTenant, String> {
    match read_tenant(text) {
        Ok(CredentialTenant::Every) | Err(_) => {
            Err("want `default`, or the id of a tenant, `ten_…`".to_owned())
        }
        tenant => tenant,
    }
}

const fn zone() -> Parsed<Zone> {
    parsed("time zone of the IANA database", |text| {
        Zone::named(text).map_err(|error| error.to_string())
    })
}

impl BudgetsFile {
    pub(super) fn check(self, ledger: &Ledger, checks: &mut Checks<'_>) -> Budgets {
        let path = KeyPath::of("budgets.list");
        if self.list.len() > LIST_MAX {
            checks.error_at(&path, format!("has more than {LIST_MAX} budgets"));
        }
        let mut names = HashSet::new();
        let mut budgets = Vec::new();
        for (index, file) in self.list.into_iter().enumerate() {
            let path = path.index(index);
            let name = file.name.clone();
            if let Some(name) = name
                && !names.insert((file.tenant.to_string(), name))
            {
                let problem = "is the name of another budget of that tenant";
                checks.error_at(&path.name("name"), problem);
            }
            budgets.extend(file.check(ledger, &path, checks));
        }
        let known_tools = known_tools(self.known_tools, checks);
        if self.known_fields.len() > KNOWN_MAX {
            let path = KeyPath::of("budgets.known_fields");
            checks.error_at(&path, format!("has more than {KNOWN_MAX} names"));
        }
        Budgets {
            required: self
                .required
                .unwrap_or(checks.environment == Environment::Production),
            default_output_cap: self.default_output_cap,
            min_output_cap: self.min_output_cap,
            quarantine: self.quarantine,
            charge_failed_attempts: self.charge_failed_attempts,
            pin_service: self.pin_service,
            known_fields: self.known_fields,
            known_tools,
            list: budgets,
        }
    }
}

fn known_tools(files: Vec<KnownToolFile>, checks: &mut Checks<'_>) -> Vec<KnownTool> {
    let path = KeyPath::of("budgets.known_tools");
    if files.len() > KNOWN_MAX {
        checks.error_at(&path, format!("has more than {KNOWN_MAX} tools"));
    }
    let mut tools: Vec<KnownTool> = Vec::new();
    for (index, file) in files.into_iter().enumerate() {
        let path = path.index(index);
        if file.unit.is_some() && file.max_uses.is_none() {
            let problem = "needs `max_uses`: else nothing bounds how often it is billed";
            checks.error_at(&path.name("unit"), problem);
        }
        let Some(kind) = file.kind else { continue };
        if tools.iter().any(|tool| tool.kind == kind) {
            checks.error_at(&path.name("type"), "is there twice");
        }
        tools.push(KnownTool {
            kind,
            extra_tokens: file.extra_tokens,
            unit: file.unit,
            max_uses: file.max_uses,
        });
    }
    tools
}

impl BudgetFile {
    fn check(
        self,
        ledger: &Ledger,
        path: &KeyPath,
        checks: &mut Checks<'_>,
    ) -> Option<BudgetSetting> {
        let mut told = |key: &str, problem: String| checks.error_at(&path.name(key), problem);
        let measure = measure(self.unit, self.count)
            .map_err(|problem| told("count", problem))
            .ok()?;
        let limit = self.limit?;
        let limit = amount(measure, limit)
            .map_err(|problem| told("limit", problem))
            .ok();
        let window = joined(self.window?, self.timezone)
            .map_err(|problem| told("timezone", problem))
            .ok();
        if !self.warn.is_sorted_by(|one, next| one < next) || self.warn.len() > 10 {
            told("warn", "want at most 10 numbers, ascending".to_owned());
        }
        Some(BudgetSetting {
            name: self.name?,
            tenant: self.tenant,
            scope: self.scope.unwrap_or(BudgetScope::Tenant),
            measure,
            limit: limit?,
            window: window?,
            enforcement: self.enforcement,
            on_short: self.on_short,
            durability: self.durability.unwrap_or(ledger.durability),
            warn: self.warn,
        })
    }
}

/// The budget that a quota is, of the provider of this name, where one is written.
pub(super) fn quota(
    file: OnOrOff<QuotaFile>,
    provider: &str,
    path: &KeyPath,
    checks: &mut Checks<'_>,
) -> Option<BudgetSetting> {
    match file {
        OnOrOff::Absent | OnOrOff::Off => None,
        OnOrOff::On(file) => file.check(provider, path, checks),
    }
}

impl BudgetSetting {
    /// The quota of a provider whose credentials are of these tenants: a budget counts the calls of one
    /// tenant.
    pub(super) fn of_those(
        self,
        mut tenants: impl Iterator<Item = CredentialTenant>,
        path: &KeyPath,
        checks: &mut Checks<'_>,
    ) -> Self {
        let tenant = tenants.next().unwrap_or(self.tenant);
        if tenant != CredentialTenant::Every && tenants.all(|other| other == tenant) {
            return Self { tenant, ..self };
        }
        let problem = "counts calls of the default tenant alone, and credentials of this provider \
            serve others too: give these budgets of their own (`budgets.list`)";
        checks.warn_at(path, problem);
        self
    }
}

impl QuotaFile {
    fn check(
        self,
        provider: &str,
        path: &KeyPath,
        checks: &mut Checks<'_>,
    ) -> Option<BudgetSetting> {
        let limit = self.limit?;
        let limit = measure(self.unit, None).and_then(|measure| {
            let limit = amount(measure, limit)?;
            Ok((measure, limit))
        });
        let window = match self.reset {
            Some(period) => joined(WindowText::Calendar(period), self.timezone),
            None => joined(WindowText::Lifetime, self.timezone),
        };
        if let Err(problem) = &limit {
            checks.error_at(&path.name("limit"), problem.clone());
        }
        if let Err(problem) = &window {
            checks.error_at(&path.name("timezone"), problem.clone());
        }
        let (measure, limit) = limit.ok()?;
        Some(BudgetSetting {
            name: format!("quota of {provider}"),
            tenant: CredentialTenant::Default,
            scope: BudgetScope::Provider(provider.to_owned()),
            measure,
            limit,
            window: window.ok()?,
            enforcement: Enforcement::Hard,
            on_short: OnShort::Refuse,
            durability: Durability::Lease,
            warn: Vec::new(),
        })
    }
}

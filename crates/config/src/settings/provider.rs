//! LLM providers and their credentials.

pub use super::credential_tenant::CredentialTenant;
use super::credential_tenant::read_tenant;

use super::budgets::{self, BudgetSetting, QuotaFile};
use super::egress::{is_clear_text, operator_url};
use super::headers::{
    HeaderRules, ProviderHeadersFile, SetHeaders, forwarded, place_of, section_or_fields,
};
use super::llm::{CheckedLlm, ON_DISCONNECT};
use super::provider_kind::{LATER, ProviderKind};
use super::upstream::TimeoutsFile;
use super::upstream_tls::{UpstreamTls, UpstreamTlsFile};
use super::{Breaker, Egress, Pool, SecretOrText, UpstreamTimeouts};
use crate::check::Checks;
use crate::error::nearest;
use crate::field::{KindExt, OnOrOff, headers, listed, section, section_or_off};
use crate::kind::{
    Parsed, choice, credential, list, networks_or_all_private, parsed, switch, whole,
};
use crate::reader::keys;
use crate::tree::KeyPath;
use ipnet::IpNet;
use std::collections::BTreeSet;
use tollkeep_ledger::decide::OnDisconnect;
use tollkeep_policy::egress::{EgressUrl, Exceptions, Purpose};
use tollkeep_types::{ProjectId, Secret};

/// An LLM provider.
#[derive(Clone, Debug)]
pub struct Provider {
    /// Its name in the file.
    pub name: String,
    /// What it speaks and how it is authenticated to.
    pub kind: ProviderKind,
    /// Scheme, host, port and base path. For kind `sandbox` it is `http://sandbox.invalid` until
    /// the binary writes the address of the built-in upstream here.
    pub base_url: EgressUrl,
    /// Its usable credentials; empty means unconfigured (LLM-R5).
    pub credentials: Vec<Credential>,
    /// Globs of the model names it serves.
    pub models: Vec<String>,
    /// Globs of the model names it does not serve.
    pub excluded_models: Vec<String>,
    /// Higher first.
    pub priority: i32,
    /// Globs of the values of `anthropic-beta` that go there; `None`: all.
    pub allowed_betas: Option<Vec<String>>,
    /// Which fields go there besides those of LLM-6, and which come back.
    pub headers: HeaderRules,
    /// Times.
    pub timeouts: UpstreamTimeouts,
    /// Connections kept.
    pub pool: Pool,
    /// When it is left alone; `None` is never.
    pub breaker: Option<Breaker>,
    /// Private networks this provider may be in (EDGE-97).
    pub allow_private: Vec<IpNet>,
    /// TLS towards it, where it is not that of all.
    pub tls: Option<UpstreamTls>,
    /// Whether it runs on machines of the operator.
    pub self_hosted: bool,
    /// What becomes of a call whose caller hangs up.
    pub on_disconnect: OnDisconnect,
    /// Whether it bills a call no further that is cancelled.
    pub cancel_stops_billing: bool,
    /// What it may be used for in a time.
    pub quota: Option<BudgetSetting>,
    /// What it may be used for in a minute.
    pub rate: ProviderRate,
    /// Whether it is used.
    pub enabled: bool,
}

/// One secret of a provider.
#[derive(Clone, Debug)]
pub struct Credential {
    /// Its name in records.
    pub name: String,
    /// The secret; `None` sends no credential.
    pub secret: Option<Secret>,
    /// Share among credentials of one priority; never 0.
    pub weight: u32,
    /// Higher first.
    pub priority: i32,
    /// Globs of the models it serves; none: all of its provider.
    pub models: Vec<String>,
    /// Globs of the models it does not serve.
    pub excluded_models: Vec<String>,
    /// Whose calls it serves.
    pub tenant: CredentialTenant,
    /// The one project whose calls it serves, by id or slug.
    pub project: Option<String>,
    /// What providers answer never keeps it from use.
    pub disable_cooling: bool,
    /// Fields set on calls that go out with it; names are lower case.
    pub headers: Vec<(String, SecretOrText)>,
}

keys! {
    /// An LLM provider.
    pub(crate) struct ProviderFile {
        /// What it is: `openai`, `anthropic`, `gemini`, `openrouter`, `groq`, `deepseek`, `mistral`,
        /// `together`, `fireworks`, `xai`, `perplexity`, `cerebras`, `vllm`, `ollama`,
        /// `llamacpp`, `lmstudio`, `openai-compatible` or `sandbox`. Default: its name, if that
        /// is one of these, or `claude`, `codex` or `google`.
        kind: Option<ProviderKind> = parsed("kind of provider", read_kind).optional(),
        /// Scheme, host, port and base path. Default: that of the kind, where it has one.
        /// `http` only for private addresses.
        base_url: Option<EgressUrl> = parsed("URL", |text| operator_url(text, Purpose::Provider))
            .optional(),
        /// Its secrets.
        credentials: Vec<CredentialFile> = listed(),
        /// Globs of the model names it serves; `*` is any run of characters.
        models: Vec<String> = list(glob()).or(vec!["*".into()]),
        /// Globs of the model names it does not serve, though `models` has them.
        excluded_models: Vec<String> = list(glob()).or_empty(),
        /// Among providers of one model the higher is asked first.
        priority: i32 = whole(-1_000_000..=1_000_000).or(0),
        /// Fields of the caller that pass besides the few that every provider gets.
        forward_headers: Vec<Box<str>> = list(forwarded()).or_empty(),
        /// Globs of the values of `anthropic-beta` that pass; a caller's others are left out. Default: all.
        allowed_betas: Option<Vec<String>> = list(glob()).optional(),
        headers: ProviderHeadersFile = section_or_fields(),
        timeouts: TimeoutsFile = section(),
        pool: Pool = section(),
        breaker: OnOrOff<Breaker> = section_or_off(),
        /// Private networks this provider may be in; other private addresses are refused.
        allow_private: Vec<IpNet> = networks_or_all_private().or_empty(),
        tls: UpstreamTlsFile = section(),
        /// Whether its credentials are used on whatever it answers: else one that is refused, or
        /// used up, is left alone for a while.
        disable_cooling: bool = switch().or(false),
        /// Whether it runs on machines of yours, where models may cost nothing
        /// (`prices.unknown_model: zero`).
        self_hosted: bool = switch().or(false),
        /// What becomes of a call whose caller hangs up, `cancel` or `drain`. Default:
        /// `llm.on_disconnect`.
        on_disconnect: Option<OnDisconnect> = choice(&ON_DISCONNECT).optional(),
        /// Whether it is known to bill a call no further that is cancelled. Say so only if it does:
        /// else who hangs up is charged less than you are.
        cancel_stops_billing: bool = switch().or(false),
        quota: OnOrOff<QuotaFile> = section_or_off(),
        rate_limit: ProviderRate = section(),
        /// Whether it is used.
        enabled: bool = switch().or(true),
    }
}

keys! {
    /// What it may be used for in a minute, by all callers together. A tenth of it may come at once,
    /// and always one call. A call that finds no room gets 429.
    #[derive(Copy, Default, Eq, PartialEq)]
    pub struct ProviderRate {
        /// Calls a minute.
        requests_per_minute: Option<u64> = whole(1..=1_000_000_000).optional(),
        /// Tokens a minute. What a call can use at most is counted before it goes out, and what it
        /// did not use is given back when it ends.
        tokens_per_minute: Option<u64> = whole(1..=1_000_000_000).optional(),
    }
}

keys! {
    /// One secret of a provider.
    pub(crate) struct CredentialFile {
        /// Its name in records. Default: `c1`, `c2`, … by place.
        name: Option<String> = parsed("name", |text| {
            crate::field::plain_name(text).map(|()| text.to_owned())
        })
        .optional(),
        /// The secret, or `none` to call without one.
        secret: Option<Option<Secret>> = credential().required(),
        /// Share among credentials of one priority; 0 leaves it out.
        weight: u32 = whole(0..=1_000_000).or(1),
        /// The higher is used first.
        priority: i32 = whole(-1_000_000..=1_000_000).or(0),
        /// Globs of the models it serves; none: all that its provider does.
        models: Vec<String> = list(glob()).or_empty(),
        /// Globs of the models it does not serve.
        excluded_models: Vec<String> = list(glob()).or_empty(),
        /// Whose calls it serves: `default`, the id of a tenant, or `*` for everybody.
        tenant: CredentialTenant = parsed("tenant", read_tenant).or(CredentialTenant::Default),
        /// The one project whose calls it serves, by id or slug; all of the tenant if not given.
        project: Option<String> = parsed("project", read_project).optional(),
        /// Fields set on calls that go out with it, such as an organization's name. None that its
        /// provider sets or removes.
        headers: SetHeaders = headers(),
        /// Whether it is used on whatever the provider answers. Default: as the provider has it.
        disable_cooling: Option<bool> = switch().optional(),
        /// Whether it is used.
        enabled: bool = switch().or(true),
    }
}

pub(super) fn read_project(text: &str) -> Result<String, String> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_slug = !text.is_empty() && text.len() <= 63 && text.bytes().all(allowed);
    if is_slug || text.parse::<ProjectId>().is_ok() {
        Ok(text.to_owned())
    } else {
        Err("want the slug of a project, or its id, `prj_…`".to_owned())
    }
}

fn read_kind(name: &str) -> Result<ProviderKind, String> {
    if let Some(kind) = ProviderKind::named(name) {
        return Ok(kind);
    }
    if LATER.contains(&name) {
        return Err(format!("`{name}` is not supported yet"));
    }
    Err(match nearest(name, ProviderKind::names()) {
        Some(near) => format!("{name:?} is no kind of provider; did you mean `{near}`?"),
        None => format!("{name:?} is no kind of provider"),
    })
}

/// A glob over model names (LLM-R11).
const fn glob() -> Parsed<String> {
    parsed("model name or glob", |text| {
        if text.is_empty() || text.len() > 256 || text.chars().any(char::is_control) {
            return Err("want a model name or glob of 1 to 256 bytes".to_owned());
        }
        Ok(text.to_owned())
    })
}

/// The providers that passed.
pub(super) fn check(
    files: Vec<(String, ProviderFile)>,
    llm: &CheckedLlm,
    egress: &Egress,
    checks: &mut Checks<'_>,
) -> Vec<Provider> {
    let checked = files
        .into_iter()
        .map(|(name, file)| file.check(name, llm, egress, checks));
    checked.flatten().collect()
}

impl ProviderFile {
    fn check(
        self,
        name: String,
        llm: &CheckedLlm,
        egress: &Egress,
        checks: &mut Checks<'_>,
    ) -> Option<Provider> {
        let path = &KeyPath::of("providers").name(&name);
        let kind = self.kind(&name, path, checks)?;
        let written = self.base_url.clone();
        let base_url = written.or_else(|| {
            let url = kind.base_url()?;
            operator_url(url, Purpose::Provider).ok()
        });
        let Some(base_url) = base_url else {
            let problem = format!("is missing: kind `{}` has no default", kind.name());
            checks.error_at(&path.name("base_url"), problem);
            return None;
        };
        if let Err(problem) = self.check_url(kind, &base_url, egress) {
            checks.error_at(&path.name("base_url"), problem);
        }
        self.check_headers(kind, path, checks);
        let headers = &path.name("headers");
        let headers = self.headers.check(self.forward_headers, headers, checks);
        let tls = self.tls.check(&base_url, &path.name("tls"), checks);
        let enabled = self.enabled;
        let quota = budgets::quota(self.quota, &name, &path.name("quota"), checks);
        let credentials = usable(self.credentials, (kind, self.disable_cooling), path, checks);
        if credentials.is_empty() && enabled {
            let problem =
                "has no usable credential: it waits for one from `tollkeep credential add`";
            checks.warn_at(path, problem);
        }
        let whose = credentials.iter().map(|credential| credential.tenant);
        let quota = quota.map(|quota| quota.of_those(whose, &path.name("quota"), checks));
        Some(Provider {
            name,
            kind,
            base_url,
            credentials,
            models: self.models,
            excluded_models: self.excluded_models,
            priority: self.priority,
            allowed_betas: self.allowed_betas,
            headers,
            timeouts: self.timeouts.or(&llm.provider_timeouts),
            pool: self.pool,
            breaker: self.breaker.read(),
            allow_private: self.allow_private,
            tls,
            self_hosted: self.self_hosted,
            on_disconnect: self.on_disconnect.unwrap_or(llm.on_disconnect),
            cancel_stops_billing: self.cancel_stops_billing,
            quota,
            rate: self.rate_limit,
            enabled,
        })
    }

    fn kind(&self, name: &str, path: &KeyPath, checks: &mut Checks<'_>) -> Option<ProviderKind> {
        if self.kind.is_some() {
            return self.kind;
        }
        let key = path.name("kind");
        let written = |line: &crate::reader::Line| {
            *line.path() == key && *line.source() != crate::tree::Source::Default
        };
        // A kind that is written but wrong has its own line.
        if checks.lines.iter().any(written) {
            return None;
        }
        let kind = ProviderKind::named(name);
        if kind.is_none() {
            let problem = if LATER.contains(&name) {
                format!("kind `{name}` is not supported yet")
            } else {
                format!("is missing, and {name:?} is no kind of provider by itself")
            };
            checks.error_at(&key, problem);
        }
        kind
    }

    fn check_url(
        &self,
        kind: ProviderKind,
        url: &EgressUrl,
        egress: &Egress,
    ) -> Result<(), String> {
        if kind == ProviderKind::Sandbox {
            return match self.base_url {
                Some(_) => Err("is the gateway's own: the sandbox is built in".to_owned()),
                None => Ok(()),
            };
        }
        let exceptions = Exceptions {
            allow_private: self.allow_private.clone(),
            allow_metadata: false,
        };
        egress.admit(url, &exceptions)?;
        if is_clear_text(url) && self.allow_private.is_empty() {
            let problem = "sends the credential in clear text: use `https`, or list the private \
                           network it is in under `allow_private`";
            return Err(problem.to_owned());
        }
        Ok(())
    }

    /// Exactly one credential field is set, and it is ours to set (LLM-R4).
    fn check_headers(&self, kind: ProviderKind, path: &KeyPath, checks: &mut Checks<'_>) {
        for (index, credential) in self.credentials.iter().enumerate() {
            let path = path.name("credentials").index(index).name("headers");
            for (name, _) in &credential.headers {
                let rules = (&*self.headers.set, &*self.headers.remove);
                if let Some(problem) = header_clash(kind, rules, name) {
                    checks.error_at(&path.name(name), problem);
                }
            }
        }
        let Some(field) = kind.credential_field() else {
            return;
        };
        let set = self.headers.set.iter().map(|(name, _)| name.as_str());
        let mut named = set.chain(self.headers.remove.iter().map(|name| &**name));
        if named.any(|name| name == field) {
            checks.error_at(
                &place_of(field, &path.name("headers"), checks),
                "carries the credential: write it under `credentials`",
            );
        }
    }
}

/// What keeps a credential of a provider from setting this field.
fn header_clash(
    kind: ProviderKind,
    (set, removed): (&[(String, SecretOrText)], &[Box<str>]),
    name: &str,
) -> Option<&'static str> {
    if kind.credential_field() == Some(name) {
        return Some("carries the credential itself");
    }
    let is_settled =
        set.iter().any(|(own, _)| own == name) || removed.iter().any(|own| **own == *name);
    is_settled.then_some("is set or removed by its provider's `headers`")
}

impl Provider {
    /// What keeps its credentials from setting this field, whose name is in lower case.
    pub fn header_clash(&self, name: &str) -> Option<&'static str> {
        header_clash(self.kind, (&*self.headers.set, &*self.headers.remove), name)
    }

    /// The provider that is called so: by its name, or the only one of that kind. The sandbox takes
    /// no credentials and is none of them.
    pub fn called<'p>(all: &'p [Self], name: &str) -> Option<&'p Self> {
        let takes = || all.iter().filter(|provider| !provider.is_sandbox());
        let exact = takes().find(|provider| provider.name == name);
        exact.or_else(|| {
            let kind = ProviderKind::named(name)?;
            let mut same = takes().filter(|provider| provider.kind == kind);
            same.next().filter(|_| same.next().is_none())
        })
    }

    /// Whether the built-in upstream answers for it.
    pub(super) fn is_sandbox(&self) -> bool {
        self.kind == ProviderKind::Sandbox
    }

    /// The provider that stands for the built-in sandbox where the file has none.
    pub(super) fn sandbox(llm: &CheckedLlm) -> Option<Self> {
        let kind = ProviderKind::Sandbox;
        Some(Self {
            name: kind.name().to_owned(),
            kind,
            base_url: operator_url(kind.base_url()?, Purpose::Provider).ok()?,
            credentials: vec![Credential::none()],
            models: vec!["*".to_owned()],
            excluded_models: Vec::new(),
            allowed_betas: None,
            priority: 0,
            headers: HeaderRules::default(),
            timeouts: llm.provider_timeouts.clone(),
            pool: Pool::DEFAULT,
            breaker: Some(Breaker::DEFAULT),
            allow_private: Vec::new(),
            tls: None,
            quota: None,
            rate: ProviderRate::default(),
            self_hosted: true,
            on_disconnect: llm.on_disconnect,
            cancel_stops_billing: false,
            enabled: true,
        })
    }
}

impl Credential {
    /// One that sends nothing.
    fn none() -> Self {
        Self {
            name: "c1".to_owned(),
            secret: None,
            weight: 1,
            priority: 0,
            models: Vec::new(),
            excluded_models: Vec::new(),
            tenant: CredentialTenant::Every,
            project: None,
            headers: Vec::new(),
            disable_cooling: true,
        }
    }
}

/// The credentials that can be used. The sandbox has one that sends nothing.
fn usable(
    files: Vec<CredentialFile>,
    (kind, disable_cooling): (ProviderKind, bool),
    path: &KeyPath,
    checks: &mut Checks<'_>,
) -> Vec<Credential> {
    if kind == ProviderKind::Sandbox && files.is_empty() {
        return vec![Credential::none()];
    }
    let mut names = BTreeSet::new();
    let mut usable = Vec::new();
    for (index, file) in files.into_iter().enumerate() {
        let name = file.name.unwrap_or_else(|| format!("c{}", index + 1));
        if !names.insert(name.clone()) {
            let path = path.name("credentials").index(index).name("name");
            checks.error_at(&path, format!("`{name}` is another credential's name"));
        }
        if let Some(secret) = file.secret.filter(|_| file.weight > 0 && file.enabled) {
            usable.push(Credential {
                name,
                secret,
                weight: file.weight,
                priority: file.priority,
                models: file.models,
                excluded_models: file.excluded_models,
                tenant: file.tenant,
                project: file.project,
                headers: file.headers,
                disable_cooling: file.disable_cooling.unwrap_or(disable_cooling),
            });
        }
    }
    usable
}

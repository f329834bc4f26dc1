//! `/api/v1/log-level`: how much the process log tells, changed for a while (AUD-83).

use crate::State;
use crate::acting::Acting;
use crate::operation::{Call, Content, Method, Operation};
use crate::problem::Problem;
use crate::rights::Right;
use crate::router::{Answer, ok};
use crate::shape::{Member, choice, duration, time};
use serde_json::{Value as Json, json};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tollkeep_audit::{Action, Key, Value};
use tollkeep_config::settings::Level;
use tollkeep_observe::logs;
use tollkeep_types::WallMillis;

/// How long it lasts if nothing is said, and at most.
const USUAL_MS: u64 = 15 * 60_000;
const LONGEST_MS: u64 = 24 * 3_600_000;

const LEVELS: &[&str] = &["trace", "debug", "info", "warn", "error"];

const PUT: &[Member] = &[
    choice("level", LEVELS, "The least severe line that is written").required(),
    duration("for", "For how long, at most 24h; 15m if not given"),
];

const SHOWN: &[Member] = &[
    choice("level", LEVELS, "The least severe line that is written").required(),
    choice("settings", LEVELS, "What the settings say").required(),
    time("until", "When it is that again").or_null().required(),
];

const ONE: &[(u16, Content)] = &[(200, Content::Object(&[SHOWN]))];

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation {
        id: "log_level_get",
        command: "log get",
        about: "How much the process log tells",
        method: Method::Get,
        path: "/api/v1/log-level",
        also: None,
        right: Right::ReadDeployment,
        change: None,
        query: &[],
        body: None,
        answers: ONE,
        refusals: &[],
        run: |call| Box::pin(get(call)),
    },
    Operation {
        id: "log_level_put",
        command: "log level",
        about: "Let the process log tell more or less for a while",
        method: Method::Put,
        path: "/api/v1/log-level",
        also: None,
        right: Right::Operate,
        change: Some(Action::ConfigReload),
        query: &[],
        body: Some(PUT),
        answers: ONE,
        refusals: &[],
        run: |call| Box::pin(put(call)),
    },
];

/// What was changed, until it is over.
#[derive(Clone, Copy)]
struct Changed {
    level: Level,
    until: WallMillis,
}

/// There is one log in a process.
static CHANGED: Mutex<Option<Changed>> = Mutex::new(None);

fn changed(now: WallMillis) -> Option<Changed> {
    let changed = CHANGED.lock().unwrap_or_else(PoisonError::into_inner);
    changed.filter(|changed| changed.until > now)
}

const fn word(level: Level) -> &'static str {
    match level {
        Level::Trace => "trace",
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    }
}

fn level_of(text: &str) -> Option<Level> {
    let all = [
        Level::Trace,
        Level::Debug,
        Level::Info,
        Level::Warn,
        Level::Error,
    ];
    all.into_iter().find(|level| word(*level) == text)
}

fn apply(level: Level) {
    logs::set_level(match level {
        Level::Trace => logs::Level::Trace,
        Level::Debug => logs::Level::Debug,
        Level::Info => logs::Level::Info,
        Level::Warn => logs::Level::Warn,
        Level::Error => logs::Level::Error,
    });
}

async fn get(call: Call) -> Answer {
    let changed = changed(call.state.parts.store.now());
    Ok(ok(&shown(&call.state, changed)))
}

fn shown(state: &State, changed: Option<Changed>) -> Json {
    let settings = state.settings().logging.level;
    let level = changed.map_or(settings, |changed| changed.level);
    json!({
        "level": word(level),
        "settings": word(settings),
        "until": changed.map(|changed| changed.until),
    })
}

async fn put(call: Call) -> Answer {
    let Call {
        state,
        operator,
        body: mut members,
        ..
    } = call;
    let level = members.choice::<String>("level");
    let lasts = members.duration("for").unwrap_or(USUAL_MS);
    if !(1_000..=LONGEST_MS).contains(&lasts) {
        members.fault("for", "must be from 1s to 24h");
    }
    members.done()?;
    let level = level.as_deref().and_then(level_of);
    let level = level.ok_or_else(Problem::internal)?;
    state.check_audit()?;
    let until = WallMillis(state.parts.store.now().0.saturating_add(lasts));
    let text = format!("logging.level {} for {} s", word(level), lasts / 1_000);
    let event = state.event(&operator, Action::ConfigReload);
    let event = event.with_detail(Key::Changed, Value::OwnedWord(text.into()));
    // Recorded first: what it tells from then on is asked for by somebody known.
    state.record(event).await?;
    let changed = Changed { level, until };
    if state.acting == Acting::Really {
        *CHANGED.lock().unwrap_or_else(PoisonError::into_inner) = Some(changed);
        apply(level);
        tracing::warn!(
            "The log tells from `{}` on for {} s",
            word(level),
            lasts / 1_000
        );
        #[expect(
            clippy::disallowed_methods,
            reason = "what it changes back ends with the process"
        )]
        tokio::task::spawn(end(
            Arc::clone(&state),
            changed,
            Duration::from_millis(lasts),
        ));
    }
    Ok(ok(&shown(&state, Some(changed))))
}

/// Goes back to what the settings say, unless somebody has asked for something else meanwhile.
async fn end(state: Arc<State>, of: Changed, lasts: Duration) {
    tokio::time::sleep(lasts).await;
    let mut changed = CHANGED.lock().unwrap_or_else(PoisonError::into_inner);
    if changed.is_some_and(|now| now.until == of.until && now.level == of.level) {
        *changed = None;
        apply(state.settings().logging.level);
    }
}

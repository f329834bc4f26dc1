//! What stands beside the counts of an answer: its service, what multiplies its price, and other
//! models that were billed.

use super::Asked;
use super::classes::usage_of;
use super::tally::Tally;
use crate::json::{Broken, Cursor};
use crate::surface::UsageDialect;
use tollkeep_types::usage::{Flag, Flags, Line, Lines, Modifiers, Service};

/// Longest value of a modifier.
const MODIFIER_BYTES_MAX: usize = 64;

/// What was told so far. In a stream what comes later counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Side {
    pub(super) service: Option<Service>,
    rare: Option<Box<Rare>>,
}

#[derive(Clone, Debug, Default)]
struct Rare {
    modifiers: Modifiers,
    iterations: Vec<Iteration>,
    fallback: Option<Box<str>>,
}

/// Work of a model that is not in the totals.
#[derive(Clone, Debug, Default)]
pub(super) struct Iteration {
    pub(super) model: Option<Box<str>>,
    pub(super) tally: Tally,
}

impl Side {
    /// Takes the name of a service. One that says nothing leaves what was said before.
    pub(super) fn take_service(
        &mut self,
        dialect: UsageDialect,
        value: &mut Cursor<'_>,
    ) -> Result<(), Broken> {
        let Ok(name) = value.or_skip(Cursor::string)? else {
            return Ok(());
        };
        let named = if dialect == UsageDialect::Gemini {
            match name.to_ascii_lowercase() {
                name if name.ends_with("flex") => Some(Service::Flex),
                name if name.ends_with("priority") => Some(Service::Priority),
                _ => Some(Service::Default),
            }
        } else {
            service_of(&name)
        };
        self.service = named.or(self.service);
        Ok(())
    }

    /// Takes `speed`; the usual one is no modifier.
    pub(super) fn take_speed(&mut self, value: &mut Cursor<'_>) -> Result<(), Broken> {
        if let Some(speed) = modifier(value)?.filter(|speed| **speed == *"fast") {
            self.rare.get_or_insert_default().modifiers.speed = Some(speed);
        }
        Ok(())
    }

    /// Takes `inference_geo`, where a place was chosen.
    pub(super) fn take_geo(&mut self, value: &mut Cursor<'_>) -> Result<(), Broken> {
        let chosen = |geo: &str| !matches!(geo, "global" | "not_available" | "");
        if let Some(geo) = modifier(value)?.filter(|geo| chosen(geo)) {
            self.rare.get_or_insert_default().modifiers.inference_geo = Some(geo);
        }
        Ok(())
    }

    pub(super) fn take_iterations(&mut self, list: Vec<Iteration>, fallback: Option<Box<str>>) {
        if list.is_empty() && fallback.is_none() {
            return;
        }
        let rare = self.rare.get_or_insert_default();
        // Lists are running ones too.
        if list.len() >= rare.iterations.len() {
            rare.iterations = list;
        }
        rare.fallback = fallback.or(rare.fallback.take());
    }

    /// What a later event told.
    pub(super) fn merge(&mut self, later: Self) {
        self.service = later.service.or(self.service);
        let Some(later) = later.rare else { return };
        let Rare {
            modifiers,
            iterations,
            fallback,
        } = *later;
        let rare = self.rare.get_or_insert_default();
        rare.modifiers.speed = modifiers.speed.or(rare.modifiers.speed.take());
        rare.modifiers.inference_geo = modifiers
            .inference_geo
            .or(rare.modifiers.inference_geo.take());
        self.take_iterations(iterations, fallback);
    }

    /// The service that is billed.
    pub(super) fn service(
        &self,
        dialect: UsageDialect,
        asked: &Asked,
        flags: &mut Flags,
    ) -> Service {
        let silent = || match (dialect, asked.service) {
            (UsageDialect::Chat | UsageDialect::Responses, Some(Service::Priority)) => {
                flags.add(Flag::ServiceAssumed);
                Service::Priority
            }
            _ => Service::Default,
        };
        asked
            .batch
            .then_some(Service::Batch)
            .or(self.service)
            .unwrap_or_else(silent)
    }

    /// The lines that counts and this make.
    pub(super) fn lines(
        &self,
        tally: &Tally,
        dialect: UsageDialect,
        asked: &Asked,
        flags: &mut Flags,
    ) -> Lines {
        let usage = usage_of(tally, dialect, asked, flags);
        let service = self.service(dialect, asked, flags);
        let Some(rare) = &self.rare else {
            let mut lines = Lines::from(usage);
            lines.first.service = service;
            return lines;
        };
        let more = rare.iterations.iter().map(|iteration| Line {
            model: iteration.model.clone(),
            service,
            modifiers: rare.modifiers.clone(),
            usage: usage_of(&iteration.tally, dialect, asked, flags),
            ..Line::default()
        });
        let more = more.collect();
        let first = Line {
            or_dearer: rare.fallback.clone(),
            service,
            modifiers: rare.modifiers.clone(),
            usage,
            ..Line::default()
        };
        Lines { first, more }
    }
}

/// The service that OpenAI and Anthropic call so. `None`: a word that says nothing, as `auto`.
pub(crate) fn service_of(name: &str) -> Option<Service> {
    match name {
        "flex" => Some(Service::Flex),
        "priority" | "fast" => Some(Service::Priority),
        "batch" => Some(Service::Batch),
        "default" | "scale" | "standard" => Some(Service::Default),
        _ => None,
    }
}

fn modifier(value: &mut Cursor<'_>) -> Result<Option<Box<str>>, Broken> {
    let text = value.or_skip(Cursor::string)?.ok();
    Ok(text
        .filter(|text| text.len() <= MODIFIER_BYTES_MAX)
        .map(Into::into))
}

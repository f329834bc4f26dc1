//! What is billed by what an answer contains: searches, sessions, grounding.

use super::certain::Spoken;
use super::delivered;
use super::tally::{Field, Tally};
use crate::json::{Broken, Cursor};
use std::borrow::Cow;
use std::collections::HashSet;

/// Most code containers of one answer that are told apart.
const CONTAINERS_MAX: usize = 1024;

/// Takes the `output` of a response.
pub(super) fn items(made: &mut Tally, value: &mut Cursor<'_>) -> Result<(), Broken> {
    if value.null() {
        return Ok(());
    }
    let mut containers: HashSet<Cow<'_, str>> = HashSet::new();
    value.items(|item| {
        let (mut kind, mut action, mut container) = (Cow::Borrowed(""), None, None);
        item.members(|key, value| {
            match key {
                b"type" => kind = value.or_skip(Cursor::string)?.unwrap_or_default(),
                b"action" => action = action_type(value)?,
                b"container_id" => container = value.or_skip(Cursor::string)?.ok(),
                _ => value.skip()?,
            }
            Ok::<_, Broken>(())
        })?;
        match &*kind {
            // Opening a page, and looking for something in it, is free.
            "web_search_call" if action.as_deref().unwrap_or("search") == "search" => {
                made.add(Field::WebSearches, 1);
            }
            "file_search_call" => made.add(Field::FileSearches, 1),
            "code_interpreter_call" if containers.len() < CONTAINERS_MAX => {
                containers.insert(container.unwrap_or_default());
            }
            _ => {}
        }
        Ok(())
    })?;
    let sessions = u64::try_from(containers.len()).unwrap_or(u64::MAX);
    made.raise(Field::CodeSessions, sessions);
    Ok(())
}

fn action_type<'a>(value: &mut Cursor<'a>) -> Result<Option<Cow<'a, str>>, Broken> {
    let mut kind = None;
    let read = |value: &mut Cursor<'a>| {
        value.members(|key, value| match key {
            b"type" => {
                kind = value.or_skip(Cursor::string)?.ok();
                Ok::<_, Broken>(())
            }
            _ => value.skip(),
        })
    };
    value.or_skip(read)?.unwrap_or_default();
    Ok(kind)
}

/// What Gemini's candidates bring.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Candidates {
    pub(super) delivered: u64,
    pub(super) finished: bool,
    pub(super) spoken: Spoken,
    /// One of them is not the first.
    pub(super) is_many: bool,
}

/// Takes `candidates`. A prompt is grounded once, however many queries that took.
pub(super) fn candidates(made: &mut Tally, value: &mut Cursor<'_>) -> Result<Candidates, Broken> {
    let mut told = Candidates::default();
    let mut queries = 0;
    value.items(|candidate| {
        candidate.members(|key, value| {
            match key {
                b"finishReason" => told.finished |= value.has_substance()?,
                b"content" => {
                    let content = |value: &mut Cursor<'_>| {
                        value.members(|key, value| {
                            if key == b"parts" {
                                told.delivered += delivered::parts(value, &mut told.spoken)?;
                                return Ok::<_, Broken>(());
                            }
                            value.skip()
                        })
                    };
                    value.or_skip(content)?.unwrap_or_default();
                }
                b"index" => told.is_many |= is_not_first(value)?,
                b"groundingMetadata" => queries += search_queries(value)?,
                _ => value.skip()?,
            }
            Ok::<_, Broken>(())
        })
    })?;
    made.raise(Field::WebSearches, queries);
    made.raise(Field::GroundedPrompts, u64::from(queries > 0));
    Ok(told)
}

/// Takes the index of an answer.
pub(super) fn is_not_first(value: &mut Cursor<'_>) -> Result<bool, Broken> {
    let index = value.or_skip(Cursor::number)?;
    Ok(index.is_ok_and(|index| index != b"0"))
}

/// How many of `webSearchQueries` are not empty.
fn search_queries(value: &mut Cursor<'_>) -> Result<u64, Broken> {
    let mut queries = 0;
    let read = |value: &mut Cursor<'_>| {
        value.members(|key, value| {
            if key != b"webSearchQueries" {
                return value.skip();
            }
            if value.null() {
                return Ok(());
            }
            value.items(|query| {
                queries += u64::from(query.has_substance()?);
                Ok::<_, Broken>(())
            })
        })
    };
    value.or_skip(read)?.unwrap_or_default();
    Ok(queries)
}

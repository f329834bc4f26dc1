//! A line of a batch's results: an answer in an envelope, at the batch price.

use super::{Asked, BodyUsage, Outcome};
use crate::json::{Broken, Cursor};
use crate::surface::UsageDialect;
use tollkeep_types::usage::{Told, UnknownUsage, UsageReport};

/// Whose envelope it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BatchForm {
    /// `response.status_code`, `response.body`, `error`.
    OpenAi,
    /// `result.type`, `result.message`.
    Anthropic,
}

/// Reads lines of results.
#[derive(Clone, Copy, Debug)]
pub struct BatchLine;

impl BatchLine {
    /// Reads one line. What failed in the batch costs nothing.
    pub fn read<'a>(form: BatchForm, asked: &Asked, line: &'a [u8]) -> BodyUsage<'a> {
        let asked = Asked {
            batch: true,
            ..asked.clone()
        };
        let opened = match form {
            BatchForm::OpenAi => openai(line),
            BatchForm::Anthropic => anthropic(line),
        };
        let report = match opened {
            Ok(Some(answer)) => {
                return BodyUsage::read(answer.dialect, &asked, answer.status, answer.body);
            }
            Ok(None) => UsageReport::Released,
            Err(Broken) => UsageReport::Unknown(UnknownUsage::Unreadable),
        };
        BodyUsage {
            told: Told::plain(report),
            model: None,
            outcome: Outcome::Error,
        }
    }
}

struct Answer<'a> {
    dialect: UsageDialect,
    status: u16,
    body: &'a [u8],
}

fn openai(line: &[u8]) -> Result<Option<Answer<'_>>, Broken> {
    let (mut status, mut body) = (0, None);
    Cursor::new(line).members(|key, value| {
        if key != b"response" {
            return value.skip();
        }
        if value.null() {
            return Ok(());
        }
        value.members(|key, value| match key {
            b"status_code" => {
                let code = value.number()?;
                let code = std::str::from_utf8(code).map_err(|_| Broken)?;
                status = code.parse().map_err(|_| Broken)?;
                Ok(())
            }
            b"body" => {
                body = Some(value.taken()?);
                Ok(())
            }
            _ => value.skip(),
        })
    })?;
    let Some(body) = body else { return Ok(None) };
    let mut dialect = UsageDialect::Chat;
    Cursor::new(body).members(|key, value| {
        if key == b"object" {
            dialect = match &*value.or_skip(Cursor::string)?.unwrap_or_default() {
                "response" => UsageDialect::Responses,
                "list" => UsageDialect::Embeddings,
                _ => UsageDialect::Chat,
            };
            return Ok(());
        }
        value.skip()
    })?;
    Ok(Some(Answer {
        dialect,
        status,
        body,
    }))
}

fn anthropic(line: &[u8]) -> Result<Option<Answer<'_>>, Broken> {
    let (mut succeeded, mut message) = (false, None);
    Cursor::new(line).members(|key, value| {
        if key != b"result" {
            return value.skip();
        }
        value.members(|key, value| match key {
            b"type" => {
                succeeded = value.or_skip(Cursor::string)?.unwrap_or_default() == "succeeded";
                Ok(())
            }
            b"message" => {
                message = Some(value.taken()?);
                Ok(())
            }
            _ => value.skip(),
        })
    })?;
    let body = message.filter(|_| succeeded);
    Ok(body.map(|body| Answer {
        dialect: UsageDialect::Anthropic,
        status: 200,
        body,
    }))
}

//! Calls to a running gateway's management API.

use super::connection::{Connection, Patience, Way};
use super::session::{Kept, cookie_of};
use super::token::path_segment;
use crate::exit::{self, Failed};
use anyhow::Context;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::Value;
use std::time::Duration;
use tollkeep_crypto::SystemEntropy;
use tollkeep_net::control::{self, Request, Target};
use tollkeep_types::{Entropy as _, Secret};

/// A way to the gateway.
pub(crate) struct Client {
    target: Target,
    key: Option<Secret>,
    session: Option<Kept>,
    runtime: tokio::runtime::Runtime,
    /// Longest wait for an answer.
    patience: Duration,
    /// Changes are only asked about.
    dry_run: bool,
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
}

impl Client {
    /// By the local socket in a data folder.
    ///
    /// # Errors
    /// No runtime could be made.
    pub(crate) fn local(data_dir: &std::path::Path) -> anyhow::Result<Self> {
        Ok(Self {
            target: Target::Unix(data_dir.join("tollkeep.sock")),
            key: None,
            session: None,
            runtime: runtime()?,
            patience: Patience::default().0,
            dry_run: false,
        })
    }

    /// By an address, as nobody yet.
    ///
    /// # Errors
    /// The address is missing or malformed.
    pub(crate) fn unsigned(connection: &Connection) -> anyhow::Result<Self> {
        Ok(Self {
            target: connection.unsigned()?,
            key: None,
            session: None,
            runtime: runtime()?,
            patience: connection.timeout.0,
            dry_run: connection.dry_run,
        })
    }

    /// By the local socket, or by address and key.
    ///
    /// # Errors
    /// The address is malformed, or there is no key for it.
    pub(crate) fn new(connection: &Connection) -> anyhow::Result<Self> {
        Self::with_key(connection, None)
    }

    /// As [`Self::new`], with this key if there is one.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn with_key(connection: &Connection, key: Option<Secret>) -> anyhow::Result<Self> {
        if let (Some(path), None) = (&connection.session_file, &key) {
            let session = Some(Kept::read(path)?);
            let client = Self::unsigned(connection)?;
            return Ok(Self { session, ..client });
        }
        let Way { target, key } = connection.way(key)?;
        Ok(Self {
            target,
            key,
            session: None,
            runtime: runtime()?,
            patience: connection.timeout.0,
            dry_run: connection.dry_run,
        })
    }

    /// Reads.
    ///
    /// # Errors
    /// See [`Self::call`].
    pub(crate) fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::GET, path, None)
    }

    /// Acts.
    ///
    /// # Errors
    /// See [`Self::call`].
    pub(crate) fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call(Method::POST, path, Some(body))
    }

    /// Acts once: under the same key, what was done is not done again. Without a key it makes one
    /// up.
    ///
    /// # Errors
    /// See [`Self::call`].
    pub(crate) fn post_once(
        &self,
        path: &str,
        body: &Value,
        key: Option<String>,
    ) -> anyhow::Result<Value> {
        let key = key.unwrap_or_else(|| {
            let mut bytes = [0; 16];
            SystemEntropy.fill(&mut bytes);
            bytes.iter().map(|byte| format!("{byte:02x}")).collect()
        });
        let key = HeaderValue::try_from(key).context("the key holds what no header may")?;
        let field = (HeaderName::from_static("idempotency-key"), key);
        Ok(self
            .exchange(Method::POST, path, (Some(body), Some(field)))?
            .0)
    }

    /// Sets.
    ///
    /// # Errors
    /// See [`Self::call`].
    pub(crate) fn put(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call(Method::PUT, path, Some(body))
    }

    /// Changes.
    ///
    /// # Errors
    /// See [`Self::call`].
    pub(crate) fn patch(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.call(Method::PATCH, path, Some(body))
    }

    /// All entries of a list, part by part; `filters` are further parameters, each behind `&`.
    ///
    /// # Errors
    /// See [`Self::call`].
    pub(crate) fn all(&self, path: &str, filters: &str) -> anyhow::Result<Vec<Value>> {
        let mut rows = Vec::new();
        self.pages(path, filters, |page| {
            let data = page.get("data").and_then(Value::as_array);
            rows.extend(data.into_iter().flatten().cloned());
            Ok(())
        })?;
        Ok(rows)
    }

    /// As [`Self::all`], each part as it comes.
    ///
    /// # Errors
    /// See [`Self::call`], and what `take` says.
    pub(crate) fn pages(
        &self,
        path: &str,
        filters: &str,
        mut take: impl FnMut(&Value) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut behind = String::new();
        loop {
            let page = self.get(&format!("{path}?limit=200{filters}{behind}"))?;
            take(&page)?;
            match page.get("next_cursor").and_then(Value::as_str) {
                Some(cursor) => behind = format!("&cursor={}", path_segment(cursor)),
                None => return Ok(()),
            }
        }
    }

    /// Removes.
    ///
    /// # Errors
    /// See [`Self::call`].
    pub(crate) fn delete(&self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::DELETE, path, None)
    }

    /// Signs in; the session, and the cookie it is set by.
    ///
    /// # Errors
    /// See [`Self::call`].
    pub(crate) fn sign_in(
        &self,
        path: &str,
        body: &Value,
    ) -> anyhow::Result<(Value, Option<Secret>)> {
        let (value, lines) = self.exchange(Method::POST, path, (Some(body), None))?;
        Ok((value, cookie_of(&lines)))
    }

    /// One call; the answer's body as JSON.
    ///
    /// # Errors
    /// Nobody answers, or the answer is a problem: its detail, with the exit code of its status.
    fn call(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        Ok(self.exchange(method, path, (body, None))?.0)
    }

    fn exchange(
        &self,
        method: Method,
        path: &str,
        (body, more): (Option<&Value>, Option<(HeaderName, HeaderValue)>),
    ) -> anyhow::Result<(Value, HeaderMap)> {
        let mut fields = vec![(
            http::header::ACCEPT,
            HeaderValue::from_static("application/json"),
        )];
        fields.extend(more);
        if let Some(key) = &self.key {
            let mut value = HeaderValue::try_from(format!("Bearer {}", key.expose()))
                .context("the key holds what no header may")?;
            value.set_sensitive(true);
            fields.push((http::header::AUTHORIZATION, value));
        }
        if let Some(session) = &self.session {
            for (name, text) in [
                (http::header::COOKIE, &session.cookie),
                (HeaderName::from_static("x-tollkeep-csrf"), &session.csrf),
            ] {
                let mut value = HeaderValue::try_from(text.expose())
                    .context("the session holds what no header may")?;
                value.set_sensitive(true);
                fields.push((name, value));
            }
            let site = HeaderName::from_static("sec-fetch-site");
            fields.push((site, HeaderValue::from_static("same-origin")));
        }
        let body = match body {
            Some(body) => {
                fields.push((
                    http::header::CONTENT_TYPE,
                    HeaderValue::from_static("application/json"),
                ));
                serde_json::to_vec(body)?
            }
            None => Vec::new(),
        };
        let mut path = path.to_owned();
        if self.dry_run && method != Method::GET {
            path.push(if path.contains('?') { '&' } else { '?' });
            path.push_str("dry_run=true");
        }
        let request = Request {
            method,
            path,
            fields,
            body,
        };
        let answer = self.runtime.block_on(async {
            tokio::time::timeout(self.patience, control::call(&self.target, request)).await
        });
        let late = |_| {
            let problem = format!("no answer within {:?}", self.patience);
            Failed::new(exit::UNREACHABLE, problem)
        };
        let answer = answer.map_err(late)?.map_err(|error| {
            let hint = match self.target {
                Target::Unix(_) => "; is the gateway running, and is --data-dir its data folder?",
                Target::Tcp(_) | Target::Tls { .. } => "",
            };
            Failed::new(exit::UNREACHABLE, format!("{error}{hint}"))
        })?;
        let value: Value = if answer.body().is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(answer.body())
                .map_err(|_| Failed::new(exit::UNREACHABLE, "the answer is not JSON"))?
        };
        if answer.status().is_success() {
            Ok((value, answer.headers().clone()))
        } else {
            Err(problem(answer.status().as_u16(), &value).into())
        }
    }
}

/// A fault with its place, which messages about settings bring themselves.
fn fault(error: &Value) -> String {
    let part = |name| error.get(name).and_then(Value::as_str).unwrap_or_default();
    let (path, message) = (part("path"), part("message"));
    let told = format!("{path}: ");
    if path.is_empty() || message.contains(&told) {
        return message.to_owned();
    }
    told + message
}

fn problem(status: u16, value: &Value) -> Failed {
    let text = |pointer| value.pointer(pointer).and_then(Value::as_str);
    let mut message = text("/detail")
        .or_else(|| text("/title"))
        .unwrap_or("refused")
        .to_owned();
    for error in value
        .pointer("/errors")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        message.push_str("\n  ");
        message.push_str(&fault(error));
    }
    let code = match status {
        400 | 413 | 415 | 422 => exit::INVALID,
        401 | 403 | 429 => exit::NOT_PERMITTED,
        404 | 405 => exit::NOT_FOUND,
        409 | 412 => exit::CONFLICT,
        503 | 504 => exit::UNREACHABLE,
        _ => exit::UNEXPECTED,
    };
    Failed::new(code, message)
}

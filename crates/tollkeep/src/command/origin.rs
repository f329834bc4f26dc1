//! `tollkeep origin …`

use super::output;
use crate::exit::{self, Failed};
use crate::system::SystemClock;
use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use tollkeep_crypto::origin_sign::bolthub::decoded;
use tollkeep_origin_verifier::{Received, V1, bolthub};
use tollkeep_types::{Clock as _, Secret, WallMillis};

/// Bytes of a request or a body.
const BYTES_MAX: u64 = 256 * 1024 * 1024;

/// What an origin sees of the gateway.
#[derive(Debug, Subcommand)]
pub(crate) enum Origin {
    /// Check the signature of a request as an origin received it
    Verify(Verify),
}

/// A signed request, and the keys it may be signed with.
#[derive(Args, Debug)]
pub(crate) struct Verify {
    /// The request as received, start line to body; `-` for standard input
    #[arg(long, value_name = "FILE", required_unless_present = "target")]
    request: Option<PathBuf>,
    /// Its method, instead of --request
    #[arg(long, default_value = "GET", conflicts_with = "request")]
    method: String,
    /// Its path and query as sent
    #[arg(long, conflicts_with = "request")]
    target: Option<String>,
    /// A field of it, as `Name: value`; give all that are covered, and Host
    #[arg(
        long = "field",
        short = 'H',
        value_name = "LINE",
        conflicts_with = "request"
    )]
    fields: Vec<String>,
    /// A file with its body
    #[arg(long, value_name = "FILE", conflicts_with = "request")]
    body: Option<PathBuf>,
    /// A key, as `ID=env:NAME` or `ID=file:/path`
    #[arg(long = "key", value_name = "ID=SOURCE", required = true)]
    keys: Vec<String>,
    /// For X-Gateway-Signature: the `path_form` that is set at the gateway
    #[arg(long, value_enum, default_value_t = PathForm::Raw)]
    path_form: PathForm,
    /// Check as of this time instead of now, such as 2026-11-22T10:15:30.250Z
    #[arg(long, value_name = "TIME")]
    at: Option<WallMillis>,
    /// Print JSON, also on a terminal
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PathForm {
    Raw,
    Decoded,
}

impl Origin {
    /// Runs the command.
    ///
    /// # Errors
    /// The request can't be read, or is not to be trusted.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Verify(verify) => verify.run(),
        }
    }
}

/// What was found.
struct Verdict {
    form: &'static str,
    /// The id of the key, where the form tells it.
    key: Option<String>,
    refused: Option<String>,
}

impl Verify {
    fn run(self) -> anyhow::Result<()> {
        let keys = self.keys.iter().map(|key| read_key(key));
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        let (head, body) = self.head_and_body()?;
        let request = Request::read(&head)?;
        let now = self.at.unwrap_or_else(|| SystemClock::new().wall());
        let verdict = self.judge(&request, &body, &keys, now)?;
        if output::wants_json(self.json) {
            output::json(&json!({
                "form": verdict.form,
                "valid": verdict.refused.is_none(),
                "key": verdict.key,
                "reason": verdict.refused,
            }));
        } else if verdict.refused.is_none() {
            let by = verdict.key.map(|key| format!(", signed with key `{key}`"));
            println!("valid ({}){}", verdict.form, by.unwrap_or_default());
        }
        match verdict.refused {
            None => Ok(()),
            Some(reason) => {
                let message = format!("refused ({}): {reason}", verdict.form);
                Err(Failed::new(exit::CHECK_FAILED, message).into())
            }
        }
    }

    fn judge(
        &self,
        request: &Request<'_>,
        body: &[u8],
        keys: &[(String, Secret)],
        now: WallMillis,
    ) -> anyhow::Result<Verdict> {
        let mut received = request.received(body);
        if request.has("x-tollkeep-signature") {
            let keys = keys.iter().map(|(id, secret)| (&**id, secret.expose()));
            let checked = V1::new(keys).verify(&received, now.0 / 1_000);
            return Ok(Verdict {
                form: "v1",
                key: checked.ok().map(str::to_owned),
                refused: checked.err().map(|refused| refused.to_string()),
            });
        }
        if !request.has("x-gateway-signature") {
            let problem = "the request has neither X-Tollkeep-Signature nor X-Gateway-Signature";
            return Err(Failed::new(exit::INVALID, problem).into());
        }
        let path = request.target.split('?').next().unwrap_or_default();
        let path = match self.path_form {
            PathForm::Raw => path.to_owned(),
            PathForm::Decoded => String::from_utf8(decoded(path.as_bytes()).into_owned())
                .map_err(|_| Failed::new(exit::INVALID, "the decoded path is not UTF-8"))?,
        };
        received.target = &path;
        let secrets: Vec<&str> = keys.iter().map(|(_, secret)| secret.expose()).collect();
        let checked = bolthub::verify(&secrets, &received, now.0);
        Ok(Verdict {
            form: "bolthub",
            key: None,
            refused: checked.err().map(|refused| refused.to_string()),
        })
    }

    /// The head as text, line ends included, and the body.
    fn head_and_body(&self) -> anyhow::Result<(String, Vec<u8>)> {
        let Some(path) = &self.request else {
            let target = self.target.as_deref().unwrap_or_default();
            let mut head = format!("{} {target} HTTP/1.1\n", self.method);
            for line in &self.fields {
                head.push_str(line);
                head.push('\n');
            }
            let body = self.body.as_deref().map(read_file).transpose()?;
            return Ok((head, body.unwrap_or_default()));
        };
        let mut bytes = read_file(path)?;
        // A head that was pasted may have lost its CRs.
        let end = [&b"\r\n\r\n"[..], b"\n\n"].into_iter().find_map(|end| {
            let at = bytes.windows(end.len()).position(|window| window == end)?;
            Some((at, at + end.len()))
        });
        let (head_len, body_at) = end.ok_or_else(|| {
            let problem = "the request has no empty line between its fields and its body";
            Failed::new(exit::INVALID, problem)
        })?;
        let body = bytes.split_off(body_at);
        bytes.truncate(head_len);
        let head = String::from_utf8(bytes)
            .map_err(|_| Failed::new(exit::INVALID, "the request's head is not UTF-8"))?;
        Ok((head, body))
    }
}

/// A request's head.
struct Request<'h> {
    method: &'h str,
    target: &'h str,
    fields: Vec<(&'h str, &'h [u8])>,
}

impl<'h> Request<'h> {
    fn read(head: &'h str) -> anyhow::Result<Self> {
        let mut lines = head.lines();
        let start = lines.next().unwrap_or_default();
        let mut words = start.split(' ');
        let (Some(method), Some(target), Some(_), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            let problem = "the first line is not `METHOD target HTTP/1.1`";
            return Err(Failed::new(exit::INVALID, problem).into());
        };
        let fields = lines.map(|line| {
            let problem = || Failed::new(exit::INVALID, "a field line is not `Name: value`");
            let (name, value) = line.split_once(':').ok_or_else(problem)?;
            Ok((name, value.trim_matches([' ', '\t']).as_bytes()))
        });
        let request = Self {
            method,
            target,
            fields: fields.collect::<anyhow::Result<_>>()?,
        };
        if request.has("transfer-encoding") {
            let problem = "the body stands in chunks, which the gateway never sends: give it \
                           decoded, with --body";
            return Err(Failed::new(exit::INVALID, problem).into());
        }
        Ok(request)
    }

    fn has(&self, name: &str) -> bool {
        let mut fields = self.fields.iter();
        fields.any(|(known, _)| known.eq_ignore_ascii_case(name))
    }

    fn received<'r>(&'r self, body: &'r [u8]) -> Received<'r> {
        let host = self
            .fields
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("host"));
        let authority = host.and_then(|(_, value)| std::str::from_utf8(value).ok());
        Received {
            method: self.method,
            authority: authority.unwrap_or_default(),
            target: self.target,
            fields: &self.fields,
            body,
        }
    }
}

/// `ID=env:NAME` or `ID=file:/path`.
fn read_key(text: &str) -> anyhow::Result<(String, Secret)> {
    let read = || {
        let (id, source) = text
            .split_once('=')
            .ok_or("want `ID=env:NAME` or `ID=file:/path`")?;
        let secret = tollkeep_config::secret_from(source)?;
        Ok::<_, String>((id.to_owned(), secret))
    };
    // The text may be the secret itself, by mistake: it is not told.
    read().map_err(|problem| Failed::new(exit::INVALID, format!("--key: {problem}")).into())
}

fn read_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().take(BYTES_MAX + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(BYTES_MAX + 1).read_to_end(&mut bytes))
    };
    let read = read.with_context(|| format!("cannot read {}", path.display()));
    let read = read.map_err(|error| Failed::new(exit::INVALID, format!("{error:#}")))?;
    if u64::try_from(read).is_ok_and(|read| read > BYTES_MAX) {
        let problem = format!("{} is longer than {BYTES_MAX} bytes", path.display());
        return Err(Failed::new(exit::INVALID, problem).into());
    }
    Ok(bytes)
}

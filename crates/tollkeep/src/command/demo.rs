//! `tollkeep demo`: the whole gateway in a temporary folder, with a built-in model.

use super::client::Client;
use super::logs;
use crate::assemble::{self, Running};
use crate::exit::{self, Failed};
use anyhow::Context;
use clap::Args;
use http::{HeaderName, HeaderValue, Method};
use serde_json::{Value, json};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use tollkeep_config::{Documents, Env, LoadRequest};
use tollkeep_crypto::SystemEntropy;
use tollkeep_net::control::{self, Request, Target};
use tollkeep_types::Entropy;

/// Try it: a gateway with a built-in model, one token, nothing to install.
#[derive(Args, Debug)]
pub(crate) struct Demo {
    /// The port for callers; 0 picks free ports for all listeners
    #[arg(long, default_value_t = 8317)]
    port: u16,
    /// Print one JSON line when ready, and nothing else
    #[arg(long)]
    json: bool,
    /// Make one call, print it, and end
    #[arg(long)]
    once: bool,
}

/// A folder that goes away with the demo.
struct TemporaryFolder(PathBuf);

impl TemporaryFolder {
    fn new() -> anyhow::Result<Self> {
        // A process that was killed may have left a folder and its number to us.
        let mut random = [0_u8; 4];
        SystemEntropy.fill(&mut random);
        let name = format!(
            "tollkeep-demo-{}-{:08x}",
            std::process::id(),
            u32::from_be_bytes(random)
        );
        let path = Env::temporary_folder().join(name);
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("cannot make the demo's folder {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!(
                "tollkeep: {} could not be removed: {error}",
                self.0.display()
            );
        }
    }
}

impl Demo {
    /// Serves until Ctrl-C, or makes one call.
    ///
    /// # Errors
    /// A port is taken, or the call fails.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        let folder = TemporaryFolder::new()?;
        let settings = self.settings(&folder.0)?;
        let log = logs::start(&settings)?;
        let running = assemble::start(settings, log, None).map_err(|error| self.explain(error))?;
        let secret = mint(&folder.0)?;
        if self.once {
            let called = call_once(&running, &secret);
            return running.stop().and(called);
        }
        if self.json {
            print_ready(&running, &secret, &folder.0);
        } else {
            print_guide(&running, &secret);
        }
        running.serve_until_signal()
    }

    fn settings(&self, folder: &Path) -> anyhow::Result<tollkeep_config::Settings> {
        let (management, metrics) = if self.port == 0 || self.once {
            (0, 0)
        } else {
            (8318, 9090)
        };
        let port = if self.once { 0 } else { self.port };
        let sets = [
            format!("data_dir={}", folder.display()),
            format!("store.path={}", folder.join("tollkeep.db").display()),
            format!("audit.file={}", folder.join("audit.log").display()),
            format!("server.port={port}"),
            "server.h2c=true".to_owned(),
            format!("management.listen=127.0.0.1:{management}"),
            format!("metrics.port={metrics}"),
            "logging.level=error".to_owned(),
            "logging.access=off".to_owned(),
            "sandbox.upstream=true".to_owned(),
        ];
        let request = LoadRequest {
            file: None,
            sets: sets.into(),
            // The demo is the same for everybody, whatever the shell has set.
            env: Env::empty(),
            working_dir: folder.to_path_buf(),
            env_file: None,
            running: false,
            looks_only: false,
            documents: Documents::Needed,
        };
        let loaded = tollkeep_config::load(&request);
        Ok(loaded
            .map_err(|errors| Failed::new(exit::INVALID, errors.to_string()))?
            .settings)
    }

    fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        if self.port == 0 {
            error
        } else {
            error.context("the demo can't start; with `--port 0` it picks free ports")
        }
    }
}

fn mint(folder: &Path) -> anyhow::Result<String> {
    let client = Client::local(folder)?;
    let made = client.post(
        "/api/v1/tokens",
        &json!({ "project": "default", "name": "demo" }),
    )?;
    made.get("secret")
        .and_then(Value::as_str)
        .map(str::to_owned)
        .context("no token was made")
}

fn print_ready(running: &Running, secret: &str, folder: &Path) {
    let url = |addr: Option<std::net::SocketAddr>| addr.map(|addr| format!("http://{addr}"));
    let ready = json!({
        "data_url": url(Some(running.at.data)),
        "management_url": url(running.at.management),
        "metrics_url": url(running.at.metrics).map(|url| url + &running.settings().metrics.path),
        "token": secret,
        "management_key": running.first_key.as_ref().map(|key| key.expose()),
        "pid": std::process::id(),
        "data_dir": folder,
    });
    println!("{ready}");
}

fn print_guide(running: &Running, secret: &str) {
    let data = format!("http://{}", running.at.data);
    println!(
        "Tollkeep runs with a built-in model. Nothing leaves this machine; Ctrl-C removes it all.\n"
    );
    println!("  callers     {data}");
    for (name, addr) in [
        ("management", running.at.management),
        ("metrics   ", running.at.metrics),
    ] {
        if let Some(addr) = addr {
            println!("  {name}  http://{addr}");
        }
    }
    println!("  token       {secret}");
    if let Some(key) = &running.first_key {
        println!("  management key  {}", key.expose());
    }
    println!("\nPaste this:\n");
    println!("curl -N {data}/v1/chat/completions -H 'authorization: Bearer {secret}' \\");
    println!("  -H 'content-type: application/json' \\");
    println!(
        "  -d '{{\"model\":\"sandbox-1\",\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}'"
    );
    println!("\nOr with an SDK, only the address and the key changed:\n");
    println!("  # pip install openai");
    println!("  from openai import OpenAI");
    println!("  client = OpenAI(base_url=\"{data}/v1\", api_key=\"{secret}\")");
    println!(
        "  print(client.chat.completions.create(model=\"sandbox-1\", messages=[{{\"role\": \"user\", \"content\": \"Hello\"}}]))\n"
    );
    println!("  # pip install google-genai");
    println!("  from google import genai");
    println!(
        "  client = genai.Client(api_key=\"{secret}\", http_options={{\"base_url\": \"{data}\"}})"
    );
    println!(
        "  print(client.models.generate_content(model=\"sandbox-1\", contents=\"Hello\").text)\n"
    );
    println!("  // npm install @anthropic-ai/sdk");
    println!("  import Anthropic from '@anthropic-ai/sdk';");
    println!("  const client = new Anthropic({{ baseURL: '{data}', apiKey: '{secret}' }});");
    println!(
        "  console.log(await client.messages.create({{ model: 'sandbox-1', max_tokens: 100, messages: [{{ role: 'user', content: 'Hello' }}] }}));"
    );
}

/// Makes one call through the gateway and prints both sides of it.
fn call_once(running: &Running, secret: &str) -> anyhow::Result<()> {
    let body =
        json!({ "model": "sandbox-1", "messages": [{ "role": "user", "content": "Hello" }] });
    println!("POST http://{}/v1/chat/completions", running.at.data);
    println!("{body}\n");
    let request = Request {
        method: Method::POST,
        path: "/v1/chat/completions".to_owned(),
        fields: vec![
            (
                HeaderName::from_static("content-type"),
                HeaderValue::from_static("application/json"),
            ),
            (
                HeaderName::from_static("authorization"),
                HeaderValue::try_from(format!("Bearer {secret}"))?,
            ),
        ],
        body: serde_json::to_vec(&body)?,
    };
    let answer = running
        .control()
        .block_on(control::call(&Target::Tcp(running.at.data), request))?;
    println!("{}", answer.status());
    println!("{}", String::from_utf8_lossy(answer.body()));
    if answer.status().is_success() {
        Ok(())
    } else {
        Err(Failed::new(exit::UNEXPECTED, "the call failed").into())
    }
}

//! The command line.

use anyhow::{Context as _, bail};

pub(crate) struct Args {
    pub(crate) mode: String,
    /// `address:port` to connect to.
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) connections: usize,
    pub(crate) seconds: f64,
    pub(crate) warm_seconds: f64,
    /// The status of a good answer.
    pub(crate) status: u16,
    /// Requests a second of the open loop.
    pub(crate) rate: f64,
    pub(crate) pids: Vec<u32>,
    pub(crate) name: String,
    pub(crate) listen: String,
    fields: Vec<String>,
    body: String,
}

impl Args {
    pub(crate) fn read(mut words: impl Iterator<Item = String>) -> anyhow::Result<Self> {
        let mut args = Self {
            mode: words.next().context("which mode?")?,
            host: String::new(),
            path: "/".to_owned(),
            connections: 64,
            seconds: 8.0,
            warm_seconds: 2.0,
            status: 200,
            rate: 1000.0,
            pids: Vec::new(),
            name: "gateway".to_owned(),
            listen: String::new(),
            fields: Vec::new(),
            body: String::new(),
        };
        while let Some(key) = words.next() {
            let value = words
                .next()
                .with_context(|| format!("{key} needs a value"))?;
            match key.as_str() {
                "--url" => args.set_url(&value)?,
                "-c" => args.connections = value.parse().context(key)?,
                "-d" => args.seconds = value.parse().context(key)?,
                "-w" => args.warm_seconds = value.parse().context(key)?,
                "-r" => args.rate = value.parse().context(key)?,
                "--status" => args.status = value.parse().context(key)?,
                "-H" => args.fields.push(value),
                "--body" => args.body = value,
                "--pid" => {
                    args.pids = value
                        .split(',')
                        .filter_map(|pid| pid.parse().ok())
                        .collect()
                }
                "--name" => args.name = value,
                "--listen" => args.listen = value,
                _ => bail!("unknown option {key}"),
            }
        }
        Ok(args)
    }

    fn set_url(&mut self, url: &str) -> anyhow::Result<()> {
        let rest = url
            .strip_prefix("http://")
            .context("only http:// addresses")?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        self.host = host.to_owned();
        self.path = format!("/{path}");
        Ok(())
    }

    /// The request every connection sends.
    pub(crate) fn request(&self) -> Vec<u8> {
        let method = if self.body.is_empty() { "GET" } else { "POST" };
        let mut text = format!("{method} {} HTTP/1.1\r\nhost: {}\r\n", self.path, self.host);
        for field in &self.fields {
            text.push_str(field);
            text.push_str("\r\n");
        }
        if !self.body.is_empty() {
            text.push_str(&format!(
                "content-type: application/json\r\ncontent-length: {}\r\n",
                self.body.len()
            ));
        }
        text.push_str("\r\n");
        text.push_str(&self.body);
        text.into_bytes()
    }
}

//! What most tests begin with: the binary, a gateway before an origin, requests as text.

use tollkeep_testkit::{Builder, Gateway, Origin};

/// The binary under test.
pub(crate) const TOLLKEEP: &str = env!("CARGO_BIN_EXE_tollkeep");

/// A gateway with this configuration and no limit by address.
pub(crate) fn gateway(config: impl Into<String>) -> Builder {
    let exempt = "server.security.rate_limiting.enabled";
    Gateway::builder(TOLLKEEP)
        .config(config)
        .set(exempt, "false")
}

/// An upstream named `origin`, and its routes as lines of YAML.
pub(crate) fn before(origin: &Origin, routes: &str) -> String {
    let url = origin.url();
    format!(
        "upstreams:\n  origin: {{ url: \"{url}\", allow_private: [\"127.0.0.1/32\"] }}\nroutes:\n{routes}"
    )
}

/// The line of a free route to `origin`, with a limit that no test reaches.
pub(crate) fn free(route: &str) -> String {
    format!(
        "  \"{route}\": {{ upstream: origin, access: free, rate_limit: {{ requests: 1000000, window: 1s }} }}\n"
    )
}

/// The credential of the provider in [`llm`].
pub(crate) const UPSTREAM_KEY: &str = "sk-upstream-Zq8kTm2vXw7pLs4nRy9bHc3dJf6gVa1e";

/// A gateway before a provider of this kind at `origin`, and a token to call it with.
pub(crate) fn llm(origin: &Origin, kind: &str, config: &str) -> (Gateway, String) {
    let url = origin.url();
    let config = format!(
        "providers:\n  {kind}:\n    base_url: \"{url}/v1\"\n    allow_private: [\"127.0.0.1/32\"]\n    \
         credentials: [{{ secret: \"${{UPSTREAM_KEY}}\" }}]\n{config}"
    );
    let gateway = gateway(config).env("UPSTREAM_KEY", UPSTREAM_KEY).start();
    let token = gateway.mint_token(&serde_json::json!({ "project": "default" }));
    (gateway, token)
}

/// A chat call with this token.
pub(crate) fn chat(token: &str, body: &str) -> Vec<u8> {
    llm_call("/v1/chat/completions", token, body)
}

/// A call of an LLM surface with this token.
pub(crate) fn llm_call(path: &str, token: &str, body: &str) -> Vec<u8> {
    let lines = format!("Authorization: Bearer {token}\r\nContent-Type: application/json\r\n");
    post(path, &lines, body.as_bytes())
}

/// A request head with Host `127.0.0.1` and these further lines, each ended with CRLF.
pub(crate) fn head(start: &str, lines: &str) -> Vec<u8> {
    format!("{start} HTTP/1.1\r\nHost: 127.0.0.1\r\n{lines}\r\n").into_bytes()
}

/// A POST with a length.
pub(crate) fn post(target: &str, lines: &str, body: &[u8]) -> Vec<u8> {
    let length = format!("{lines}Content-Length: {}\r\n", body.len());
    let mut request = head(&format!("POST {target}"), &length);
    request.extend_from_slice(body);
    request
}

/// SplitMix64: the same rolls in every run.
pub(crate) struct Dice(u64);

impl Dice {
    /// Dice that roll by this seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next roll.
    pub(crate) fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to below `bound`.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.roll() % u64::try_from(bound.max(1)).unwrap()).unwrap()
    }

    /// One element.
    pub(crate) fn one_of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}

//! An operator whose connection to management stays open, for tests that ask very often.

use crate::client::{Answer, Client};
use crate::gateway::{Gateway, MANAGEMENT_KEY};
use crate::wait::PATIENCE;
use serde_json::Value;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A connection that was idle for longer is made anew: the gateway may be about to close it.
const IDLE_MAX: Duration = Duration::from_secs(3);

/// An operator with the key of [`MANAGEMENT_KEY`].
pub struct Operator {
    management: SocketAddr,
    open: Option<(Client, Instant)>,
}

impl Gateway {
    /// An operator of this gateway.
    pub fn operator(&self) -> Operator {
        Operator {
            management: self.management(),
            open: None,
        }
    }
}

impl Operator {
    /// A call of the management API: status and JSON body (null if there is none).
    ///
    /// # Panics
    /// There is no strict answer.
    pub fn api(&mut self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {MANAGEMENT_KEY}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.management,
            body.len()
        );
        let answer = self.call(request.as_bytes());
        let value = if answer.body.is_empty() {
            Value::Null
        } else {
            answer.json()
        };
        (answer.status, value)
    }

    fn call(&mut self, request: &[u8]) -> Answer {
        let open = self.open.take();
        let open = open.filter(|(_, used)| used.elapsed() < IDLE_MAX);
        let mut client =
            open.map_or_else(|| Client::connect(self.management), |(client, _)| client);
        client.send(request);
        let answer = client.answer(PATIENCE);
        let answer = answer.unwrap_or_else(|ended| panic!("no answer: {ended:?}"));
        if !answer.closes() {
            self.open = Some((client, Instant::now()));
        }
        answer
    }
}

//! The connection to Redis, for counters that replicas share: scripts in batches, answers as
//! numbers. Only the control runtime uses it; a worker never waits on this socket.
//!
//! The server is the operator's own, named in the settings as the database is; it is mostly on a
//! private address, so that the rules for upstreams don't apply to it.

mod channel;

pub use channel::RedisChannel;

use crate::resolve::{Names, ResolveError};
use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, Pipeline, RedisConnectionInfo, Script, Value};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tollkeep_types::Secret;

/// How long connecting may take, TLS and login included.
const CONNECT_WAIT: Duration = Duration::from_secs(1);

/// Where Redis is, and how to log in.
pub struct RedisTarget {
    /// Its host.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// TLS settings, for `rediss`.
    pub tls: Option<Arc<ClientConfig>>,
    /// Number of the database.
    pub database: u32,
    /// The user, where it is not the default one.
    pub username: Option<String>,
    /// The password.
    pub password: Option<Secret>,
}

/// Why Redis gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum RedisFailure {
    /// The host gave no address.
    #[error("cannot resolve its name: {0}")]
    Resolve(#[from] ResolveError),
    /// It can't be connected to.
    #[error("cannot connect: {0}")]
    Connect(io::Error),
    /// It did not answer in time.
    #[error("no answer in time")]
    Late,
    /// The connection or the protocol broke, or it said no.
    #[error("{0}")]
    Failed(String),
}

/// One call of a script.
pub struct ScriptCall {
    /// Its keys.
    pub keys: Vec<String>,
    /// Its arguments.
    pub arguments: Vec<i64>,
}

/// A connection that knows one script.
pub struct RedisConnection {
    connection: MultiplexedConnection,
    script: String,
    /// Moves the bytes, and ends with this.
    _driver: JoinSet<()>,
}

impl RedisConnection {
    /// Connects, logs in and loads `script`. Each later answer may take `wait`.
    ///
    /// # Errors
    /// See [`RedisFailure`].
    pub async fn open(
        target: &RedisTarget,
        names: &Names,
        script: &str,
        wait: Duration,
    ) -> Result<Self, RedisFailure> {
        tokio::select! {
            opened = Self::connect(target, names, script, wait) => opened,
            () = tokio::time::sleep(CONNECT_WAIT) => Err(RedisFailure::Late),
        }
    }

    async fn connect(
        target: &RedisTarget,
        names: &Names,
        script: &str,
        wait: Duration,
    ) -> Result<Self, RedisFailure> {
        let stream = dial(target, names).await?;
        let login = login(target);
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(wait));
        let (mut connection, driver) =
            MultiplexedConnection::new_with_config(&login, stream, config)
                .await
                .map_err(failed)?;
        let mut drivers = JoinSet::new();
        drivers.spawn(driver);
        let loaded: String = ::redis::cmd("SCRIPT")
            .arg("LOAD")
            .arg(script)
            .query_async(&mut connection)
            .await
            .map_err(failed)?;
        if loaded != Script::new(script).get_hash() {
            return Err(RedisFailure::Failed("it loaded another script".to_owned()));
        }
        Ok(Self {
            connection,
            script: loaded,
            _driver: drivers,
        })
    }

    /// Runs the script for each of `calls`, in one batch; the numbers each answers with.
    ///
    /// # Errors
    /// See [`RedisFailure`]; which of the calls were run is then not known.
    pub async fn run(&mut self, calls: &[ScriptCall]) -> Result<Vec<Vec<i64>>, RedisFailure> {
        let mut batch = Pipeline::with_capacity(calls.len());
        for call in calls {
            batch
                .cmd("EVALSHA")
                .arg(&self.script)
                .arg(call.keys.len())
                .arg(&call.keys)
                .arg(&call.arguments);
        }
        let answers = self
            .connection
            .send_packed_commands(&batch, 0, calls.len())
            .await
            .map_err(failed)?;
        if answers.len() != calls.len() {
            return Err(RedisFailure::Failed("answers are missing".to_owned()));
        }
        answers.into_iter().map(numbers).collect()
    }
}

fn login(target: &RedisTarget) -> RedisConnectionInfo {
    let mut login = RedisConnectionInfo::default()
        .set_db(target.database.into())
        .set_skip_set_lib_name();
    if let Some(username) = &target.username {
        login = login.set_username(username);
    }
    if let Some(password) = &target.password {
        login = login.set_password(password.expose());
    }
    login
}

fn numbers(answer: Value) -> Result<Vec<i64>, RedisFailure> {
    if let Value::ServerError(error) = answer {
        return Err(RedisFailure::Failed(error.to_string()));
    }
    let number = |item| {
        if let Value::Int(number) = item {
            Some(number)
        } else {
            None
        }
    };
    let items = if let Value::Array(items) = answer {
        items.into_iter().map(number).collect()
    } else {
        None
    };
    items.ok_or_else(|| RedisFailure::Failed("an answer is not a list of numbers".to_owned()))
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it maps errors, which come by value"
)]
fn failed(error: ::redis::RedisError) -> RedisFailure {
    if error.is_timeout() {
        RedisFailure::Late
    } else {
        RedisFailure::Failed(error.to_string())
    }
}

/// A byte stream that may move between threads, clear or TLS.
trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for S {}

async fn dial(target: &RedisTarget, names: &Names) -> Result<Box<dyn ByteStream>, RedisFailure> {
    let addresses: Vec<IpAddr> = match target.host.parse() {
        Ok(ip) => vec![ip],
        // Not every resolver knows it.
        Err(_) if target.host == "localhost" => {
            vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
        }
        Err(_) => names.addresses(&target.host).await?.to_vec(),
    };
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for ip in addresses {
        #[expect(
            clippy::disallowed_methods,
            reason = "the operator's own server, named in the settings"
        )]
        match TcpStream::connect(SocketAddr::new(ip, target.port)).await {
            Ok(stream) => return encrypt(target, stream).await.map_err(RedisFailure::Connect),
            Err(error) => last = error,
        }
    }
    Err(RedisFailure::Connect(last))
}

async fn encrypt(target: &RedisTarget, stream: TcpStream) -> io::Result<Box<dyn ByteStream>> {
    stream.set_nodelay(true)?;
    let Some(config) = &target.tls else {
        return Ok(Box::new(stream));
    };
    let name = ServerName::try_from(target.host.clone()).map_err(io::Error::other)?;
    // It speaks no protocol that would have to be chosen.
    let mut config = ClientConfig::clone(config);
    config.alpn_protocols.clear();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    Ok(Box::new(connector.connect(name, stream).await?))
}

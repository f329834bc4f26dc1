//! Bytes that are handed over a connection of their own through the egress door, to a receiver that
//! answers nothing, such as one of syslog (RFC 6587, RFC 5425).
//!
//! A connection that was written to says nothing of what arrived. So each takes one lot, is closed by
//! us, and counts when the receiver has closed it too: in order, and not before we did.

use crate::dial::{Connected, DialError, Endpoint, Tried};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// What a receiver may say before it closes.
const SAID_BYTES_MAX: u64 = 64 << 10;

/// Why bytes were not taken.
#[derive(Debug, thiserror::Error)]
pub enum HandOverError {
    /// No connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// It took too long.
    #[error("it did not take all within {} s", .0.as_secs())]
    Late(Duration),
    /// It closed the connection before all was sent.
    #[error("it closed the connection before it had everything")]
    Closed,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broke(io::Error),
}

/// Hands bytes over, and waits until the receiver has closed the connection.
///
/// # Errors
/// They may not have arrived, see [`HandOverError`].
#[expect(
    clippy::disallowed_methods,
    reason = "there is no connection of a caller whose slot could time it"
)]
pub async fn hand_over(
    endpoint: &Endpoint,
    bytes: &[u8],
    patience: Duration,
) -> Result<(), HandOverError> {
    let handed = async {
        let mut tried = Tried::default();
        match endpoint.dialer.connect(endpoint, &mut tried).await? {
            Connected::Clear(stream) => give(stream, bytes).await,
            Connected::Tls(stream) => give(*stream, bytes).await,
            Connected::TlsInTls(stream) => give(*stream, bytes).await,
        }
    };
    tokio::time::timeout(patience, handed)
        .await
        .unwrap_or(Err(HandOverError::Late(patience)))
}

/// Whether a connection can be made, of whatever kind it is to be; nothing is sent over it.
///
/// # Errors
/// It can't, see [`HandOverError`].
#[expect(
    clippy::disallowed_methods,
    reason = "there is no connection of a caller whose slot could time it"
)]
pub async fn reach(endpoint: &Endpoint, patience: Duration) -> Result<(), HandOverError> {
    let mut tried = Tried::default();
    let reached = endpoint.dialer.connect(endpoint, &mut tried);
    match tokio::time::timeout(patience, reached).await {
        Ok(connected) => Ok(connected.map(drop)?),
        Err(_) => Err(HandOverError::Late(patience)),
    }
}

async fn give<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    bytes: &[u8],
) -> Result<(), HandOverError> {
    let (mut from, mut to) = tokio::io::split(stream);
    let mut said = [0; 1024];
    let mut sending = std::pin::pin!(async {
        to.write_all(bytes).await?;
        to.flush().await
    });
    let mut heard = 0;
    loop {
        tokio::select! {
            biased;
            read = from.read(&mut said) => match read.map_err(HandOverError::Broke)? {
                0 => return Err(HandOverError::Closed),
                read => heard = hear(heard, read)?,
            },
            sent = &mut sending => break sent.map_err(HandOverError::Broke)?,
        }
    }
    to.shutdown().await.map_err(HandOverError::Broke)?;
    loop {
        match from.read(&mut said).await {
            Ok(0) => return Ok(()),
            // Of TLS, many close without saying so first; that we said so they have heard.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Ok(read) => heard = hear(heard, read)?,
            Err(error) => return Err(HandOverError::Broke(error)),
        }
    }
}

/// Counts what a receiver says, which nobody wants to know.
fn hear(heard: u64, read: usize) -> Result<u64, HandOverError> {
    let heard = heard.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
    if heard > SAID_BYTES_MAX {
        return Err(HandOverError::Broke(io::Error::other(
            "it says more than a receiver has to say",
        )));
    }
    Ok(heard)
}

//! A channel of Redis by which replicas tell each other that something changed, and nothing more:
//! what changed is in the database, so a message that is lost, late or made up does no harm.

use super::{CONNECT_WAIT, RedisFailure, RedisTarget, dial, failed, login};
use crate::resolve::Names;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ProtocolVersion, PushInfo, PushKind};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// How long an answer may take. Nobody waits for it.
const ANSWER_WAIT: Duration = Duration::from_secs(2);
/// Least time between two words that are passed on.
const HEARD_EVERY: Duration = Duration::from_millis(5);
/// How often it is asked whether it is still there, so that a connection which died without a word
/// is found out.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// The channel.
pub struct RedisChannel {
    /// Where Redis is.
    pub target: RedisTarget,
    /// Finds it.
    pub names: Names,
    /// What the channel is called.
    pub name: String,
}

/// What the connection has to tell, by the task that reads from it.
#[derive(Default)]
struct Told {
    heard: Notify,
    lost: Notify,
}

impl RedisChannel {
    /// Says that there is news each time it is told so, and passes on when others do, until the
    /// connection fails. `joined` is called once both work: what others said before was missed.
    pub async fn serve(
        &self,
        news: &Notify,
        heard: impl Fn(),
        joined: impl FnOnce(),
    ) -> RedisFailure {
        let told = Arc::new(Told::default());
        let opened = tokio::select! {
            opened = self.open(&told) => opened,
            () = tokio::time::sleep(CONNECT_WAIT) => Err(RedisFailure::Late),
        };
        let (mut connection, _driver) = match opened {
            Ok(opened) => opened,
            Err(failure) => return failure,
        };
        joined();
        loop {
            let asked = tokio::select! {
                () = told.heard.notified() => {
                    heard();
                    // Whoever writes there without end must not keep the database busy.
                    tokio::time::sleep(HEARD_EVERY).await;
                    continue;
                }
                () = told.lost.notified() => {
                    return RedisFailure::Failed("the connection ended".to_owned());
                }
                () = news.notified() => self.publish(&mut connection).await,
                () = tokio::time::sleep(ASK_EVERY) => ping(&mut connection).await,
            };
            if let Err(failure) = asked {
                // Who is told next says it again.
                news.notify_one();
                return failure;
            }
        }
    }

    async fn open(
        &self,
        told: &Arc<Told>,
    ) -> Result<(MultiplexedConnection, JoinSet<()>), RedisFailure> {
        let stream = dial(&self.target, &self.names).await?;
        let login = login(&self.target).set_protocol(ProtocolVersion::RESP3);
        let pushed = Arc::clone(told);
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(Some(ANSWER_WAIT))
            .set_push_sender(move |push: PushInfo| {
                if push.kind == PushKind::Message {
                    pushed.heard.notify_one();
                }
                if push.kind == PushKind::Disconnection {
                    pushed.lost.notify_one();
                }
                Ok::<(), redis::aio::SendError>(())
            });
        let (mut connection, driver) =
            MultiplexedConnection::new_with_config(&login, stream, config)
                .await
                .map_err(failed)?;
        let mut drivers = JoinSet::new();
        drivers.spawn(driver);
        connection.subscribe(&self.name).await.map_err(failed)?;
        Ok((connection, drivers))
    }

    async fn publish(&self, connection: &mut MultiplexedConnection) -> Result<(), RedisFailure> {
        let publish = redis::cmd("PUBLISH").arg(&self.name).arg("").take();
        let published = publish.query_async::<i64>(connection).await;
        published.map(|_| ()).map_err(failed)
    }
}

async fn ping(connection: &mut MultiplexedConnection) -> Result<(), RedisFailure> {
    let answered = redis::cmd("PING").query_async::<String>(connection).await;
    answered.map(|_| ()).map_err(failed)
}

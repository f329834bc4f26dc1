//! The word that something changed, from replica to replica by Redis, where there is one beside
//! the database. What changed is read from the database, which is also looked at twice a second.

use super::Base;
use super::counters::{names, target};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tollkeep_net::redis::RedisChannel;
use tollkeep_store::Store;

/// How long to wait before Redis is tried again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Carries the word, where there are replicas and a Redis.
///
/// # Errors
/// No resolver, no TLS roots. A Redis that is away is none.
pub(super) fn carry(
    base: &Base,
    store: &Store,
    control: &tokio::runtime::Runtime,
) -> anyhow::Result<()> {
    let settings = &base.settings;
    let Some(redis) = settings.redis.as_ref() else {
        return Ok(());
    };
    if settings.store.postgres.is_none() {
        return Ok(());
    }
    let channel = RedisChannel {
        target: target(base, redis)?,
        names: names(base, control)?,
        name: format!("{}:changes", redis.prefix),
    };
    let news = Arc::new(Notify::new());
    let herald = Arc::clone(&news);
    store.set_herald(Box::new(move || herald.notify_one()));
    control.spawn(serve(channel, news, store.clone()));
    Ok(())
}

async fn serve(channel: RedisChannel, news: Arc<Notify>, store: Store) {
    let mut is_lost = false;
    loop {
        let joined = || {
            tracing::info!("Changes are told by Redis too");
            is_lost = false;
            store.look();
        };
        let failure = channel.serve(&news, || store.look(), joined);
        let failure = failure.await;
        if !std::mem::replace(&mut is_lost, true) {
            tracing::warn!(
                "Redis does not tell of changes ({failure}): they come by the database alone"
            );
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

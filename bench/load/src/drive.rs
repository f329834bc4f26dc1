//! Closed loop, open loop and streams: many connections, one window of time.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::args::Args;
use crate::client::{Connection, Head};
use crate::events::{Event, Events};
use crate::meter::Use;
use crate::tally::Tally;

/// The window closes a little before the load ends.
const TAIL: Duration = Duration::from_millis(20);

/// One load: what is sent, and what is counted.
struct Load {
    args: Rc<Args>,
    request: Vec<u8>,
    tally: RefCell<Tally>,
    begin: Instant,
    end: Instant,
}

pub(crate) async fn run(args: Rc<Args>) -> anyhow::Result<String> {
    let begin = Instant::now();
    let load = Rc::new(Load {
        request: args.request(),
        tally: RefCell::new(Tally::new()?),
        begin,
        end: begin + Duration::from_secs_f64(args.warm_seconds + args.seconds),
        args,
    });
    for number in 0..load.args.connections {
        let load = Rc::clone(&load);
        tokio::task::spawn_local(async move { load.repeat(number).await });
    }
    tokio::time::sleep(Duration::from_secs_f64(load.args.warm_seconds)).await;
    let (before, own_before, opened) = (Use::of(&load.args.pids), Use::own_cpu_s(), Instant::now());
    load.tally.borrow_mut().open = true;
    tokio::time::sleep_until((load.end - TAIL).into()).await;
    load.tally.borrow_mut().open = false;
    let seconds = opened.elapsed().as_secs_f64();
    let after = Use::of(&load.args.pids);
    let own_s = Use::own_cpu_s() - own_before;
    Ok(load.json(seconds, after.cpu_s - before.cpu_s, own_s, &after))
}

impl Load {
    fn json(&self, seconds: f64, cpu_s: f64, own_s: f64, memory: &Use) -> String {
        let tally = self.tally.borrow();
        let each = |count: u64, scale: f64| {
            if count == 0 {
                0.0
            } else {
                cpu_s * scale / count as f64
            }
        };
        let requests = tally.ok + tally.bad;
        format!(
            "{{\"name\":\"{}\",\"mode\":\"{}\",\"conns\":{},\"secs\":{seconds:.2},\"rps\":{:.1},\"cpu_s\":{cpu_s:.2},\"cpu_us_per_req\":{:.2},\"cpu_s_per_mchunk\":{:.2},\"cores\":{:.2},\"load_cores\":{:.2},{},{}}}",
            self.args.name,
            self.args.mode,
            self.args.connections,
            requests as f64 / seconds,
            each(requests, 1e6),
            each(tally.chunks, 1e6),
            cpu_s / seconds,
            own_s / seconds,
            memory.memory_json(),
            tally.json(),
        )
    }

    /// One connection's life.
    async fn repeat(&self, number: usize) {
        let mut connection = None;
        if self.args.mode == "sse" {
            // Spread the streams, so that their chunks do not all fall on one tick.
            let share = number as f64 / self.args.connections as f64;
            tokio::time::sleep(Duration::from_secs_f64(
                self.args.warm_seconds * 0.8 * share,
            ))
            .await;
        }
        while Instant::now() < self.end {
            let Some(start) = self.start().await else {
                return;
            };
            if let Err(error) = self.one(&mut connection, start).await {
                connection = None;
                self.tally.borrow_mut().bad(|| error.to_string());
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    /// When the next request counts as started: now, or in the open loop when it was due.
    async fn start(&self) -> Option<Instant> {
        if self.args.mode != "rate" {
            return Some(Instant::now());
        }
        let given = {
            let mut tally = self.tally.borrow_mut();
            tally.given += 1;
            tally.given
        };
        let due = self.begin + Duration::from_secs_f64(given as f64 / self.args.rate);
        if due > self.end {
            return None;
        }
        if due > Instant::now() {
            tokio::time::sleep_until(due.into()).await;
            // The timer's own lateness is not the gateway's.
            return Some(Instant::now());
        }
        // We are late because earlier answers were: that counts.
        Some(due)
    }

    async fn one(&self, slot: &mut Option<Connection>, start: Instant) -> std::io::Result<()> {
        let connection = match slot {
            Some(connection) => connection,
            None => slot.insert(Connection::open(&self.args.host).await?),
        };
        let head = connection.send(&self.request).await?;
        let reusable = if self.args.mode == "sse" && head.status == 200 {
            self.stream(connection, &head, start).await?
        } else {
            self.whole(connection, &head, start).await?
        };
        if !reusable {
            *slot = None;
        }
        Ok(())
    }

    async fn whole(
        &self,
        connection: &mut Connection,
        head: &Head,
        start: Instant,
    ) -> std::io::Result<bool> {
        let mut bytes = 0;
        let mut refusal = Vec::new();
        let is_good = head.status == self.args.status;
        let reusable = connection.body(head, |data| {
            bytes += data.len() as u64;
            if !is_good && refusal.len() < 200 {
                refusal.extend_from_slice(data);
            }
        });
        let reusable = reusable.await?;
        let mut tally = self.tally.borrow_mut();
        if !is_good {
            tally.bad(|| format!("{} {}", head.status, String::from_utf8_lossy(&refusal)));
        } else if tally.open {
            tally.ok += 1;
            tally.bytes += bytes;
            tally.latency.saturating_record(micros(start.elapsed()));
        }
        Ok(reusable)
    }

    async fn stream(
        &self,
        connection: &mut Connection,
        head: &Head,
        start: Instant,
    ) -> std::io::Result<bool> {
        let mut events = Events::new();
        let (mut first, mut last_ns) = (true, None);
        let reusable = connection.body(head, |data| {
            let mut tally = self.tally.borrow_mut();
            if std::mem::take(&mut first) && tally.open {
                tally.latency.saturating_record(micros(start.elapsed()));
            }
            let now_ns = monotonic_ns();
            if tally.open {
                tally.bytes += data.len() as u64;
            }
            events.feed(data, |event| match event {
                Event::Sum { right: false } => {
                    tally.bad(|| "a stream was changed on its way".to_owned())
                }
                _ if !tally.open => {}
                Event::Sum { right: true } => tally.sums += 1,
                Event::Other => tally.chunks += 1,
                Event::Stamped(sent_ns) => {
                    tally.chunks += 1;
                    tally
                        .transit
                        .saturating_record(now_ns.saturating_sub(sent_ns) / 1000);
                    if let Some(last_ns) = last_ns.replace(now_ns) {
                        tally.gap.saturating_record((now_ns - last_ns) / 1000);
                    }
                }
            });
        });
        let reusable = reusable.await?;
        let mut tally = self.tally.borrow_mut();
        if tally.open {
            tally.ok += 1;
        }
        Ok(reusable)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The clock every process of this machine shares.
fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

//! A caller's HTTP/2 connection: each stream lives as an exchange of its own.

use crate::lifecycle::{Lane, live_stream};
use crate::plan::Plan;
use crate::worker::Worker;
use arc_swap::Cache;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tollkeep_counters::IpGuard;
use tollkeep_net::{Downstream, Http2, Incoming};
use tollkeep_types::MonoNanos;

/// How often a connection with requests in work is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// What a connection gets after its last answer to take leave.
const LEAVE: Duration = Duration::from_secs(1);

/// The settings in force, as a connection reads them.
type Plans<'a> = Cache<&'a arc_swap::ArcSwap<Plan>, Arc<Plan>>;

/// What is known of a connection before it turned out to be one of HTTP/2.
pub(crate) struct Opened<'a> {
    pub(crate) at: MonoNanos,
    /// Where its address's connections are counted, unless it is a trusted proxy's.
    pub(crate) counted: Option<&'a IpGuard<'a>>,
}

/// One connection, to its end.
pub(crate) async fn serve(
    worker: &Rc<Worker>,
    plans: &mut Plans<'_>,
    conn: Downstream,
    opened: Opened<'_>,
) {
    let plan = plans.load();
    let http2 = Http2::begin(conn, plan.head_limits.head_bytes_max);
    let mut connection = Connection {
        worker,
        http2,
        opened,
        served: 0,
        leaving: None,
        look_at: MonoNanos(0),
    };
    connection.wait_anew(plans.load());
    loop {
        match connection.http2.incoming().await {
            Incoming::Request(stream) => {
                connection.take(plans.load(), stream);
                // However often requests come, what no request shows is looked at in time.
                if !connection.is_due() {
                    connection.wait_less(plans.load());
                    continue;
                }
            }
            Incoming::Late => {}
            Incoming::Malformed => {
                connection.rejected("http2_malformed");
                if !connection.is_due() {
                    continue;
                }
            }
            Incoming::Breach(breach) => {
                connection.rejected(breach.reason());
                return connection.http2.calm().await;
            }
            Incoming::Broken(reason) => {
                connection.rejected(reason.reason());
                return connection.http2.close().await;
            }
            Incoming::Over => return connection.http2.close().await,
        }
        match connection.look(plans.load()) {
            Look::GoOn => connection.wait_anew(plans.load()),
            Look::Close => {
                connection.http2.part();
                return connection.http2.close().await;
            }
            Look::End => return connection.http2.calm().await,
        }
    }
}

/// What becomes of a connection that was looked at.
enum Look {
    GoOn,
    /// It is over.
    Close,
    /// It can't go on: the client takes nothing, does not come to an end of its fields, or may
    /// no longer come.
    End,
}

struct Connection<'a> {
    worker: &'a Rc<Worker>,
    http2: Http2,
    opened: Opened<'a>,
    served: u64,
    /// Since when the client is told to open no more streams.
    leaving: Option<MonoNanos>,
    /// When it is looked at next.
    look_at: MonoNanos,
}

impl Connection<'_> {
    /// Tells of what was refused before there was a request.
    fn rejected(&self, reason: &'static str) {
        self.worker.rejected(self.http2.peer().ip(), reason);
    }

    /// Sets when it is looked at next.
    fn wait_anew(&mut self, plan: &Plan) {
        let wait = self.wait(plan);
        self.look_at = self.after(wait);
        let slot = self.http2.slot();
        if self.leaving.is_some() {
            slot.set(wait);
        } else {
            slot.set_idle(wait);
        }
    }

    /// As [`Self::wait_anew`], if that is sooner.
    fn wait_less(&mut self, plan: &Plan) {
        if self.after(LOOK) < self.look_at {
            self.wait_anew(plan);
        }
    }

    fn wait(&self, plan: &Plan) -> Duration {
        if self.leaving.is_some() || self.http2.running() > 0 {
            return LOOK;
        }
        // No later than a request may take to arrive, though none may have begun.
        let wait = self.idle_left(plan).min(plan.timeouts.header);
        wait.max(Duration::from_millis(1))
    }

    fn after(&self, wait: Duration) -> MonoNanos {
        let wait = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        MonoNanos(self.http2.slot().now().0.saturating_add(wait))
    }

    fn is_due(&self) -> bool {
        self.http2.slot().now() >= self.look_at
    }

    fn since(&self, at: MonoNanos) -> Duration {
        Duration::from_nanos(self.http2.slot().now().since(at))
    }

    /// How long a connection without requests may go on.
    fn idle_left(&self, plan: &Plan) -> Duration {
        let timeouts = &plan.timeouts;
        let idle = timeouts
            .keep_alive_idle
            .saturating_sub(self.since(self.http2.quiet_since()));
        idle.min(self.age_left(plan))
    }

    fn age_left(&self, plan: &Plan) -> Duration {
        let age = self.since(self.opened.at);
        plan.timeouts.connection_age_max.saturating_sub(age)
    }

    /// Begins a request in a task of its own: a panic ends that stream and nothing else.
    fn take(&mut self, plan: &Plan, stream: Downstream) {
        self.served += 1;
        if self.served >= plan.timeouts.requests_per_connection_max {
            self.leave();
        }
        let crowded = self
            .opened
            .counted
            .is_some_and(|counted| counted.count() > plan.limits.connections_per_ip_max);
        let lane = Lane::of_stream(crowded);
        Worker::beside(live_stream(Rc::clone(self.worker), stream, lane));
    }

    /// Looks at what no single stream is late for.
    fn look(&mut self, plan: &Plan) -> Look {
        if self.http2.slot().is_denied() {
            return Look::End;
        }
        let timeouts = &plan.timeouts;
        let now = self.http2.slot().now();
        let late = |since: Option<MonoNanos>, wait| {
            since.is_some_and(|at| Duration::from_nanos(now.since(at)) >= wait)
        };
        if late(self.http2.fields_since(), timeouts.header)
            || self.http2.is_stuck(timeouts.write_stall)
        {
            return Look::End;
        }
        let quiet = self.http2.running() == 0;
        if self.leaving.is_some() && quiet && self.since(self.http2.quiet_since()) >= LEAVE {
            return Look::Close;
        }
        let left = if quiet {
            self.idle_left(plan)
        } else {
            self.age_left(plan)
        };
        if left.is_zero() || self.worker.shared.drain.is_draining() {
            self.leave();
        }
        // A client that answers no PING has had the time of one that does.
        if late(self.leaving, LEAVE) {
            self.http2.part();
        }
        Look::GoOn
    }

    fn leave(&mut self) {
        if self.leaving.is_none() {
            self.leaving = Some(self.http2.slot().now());
            self.http2.go_away();
        }
    }
}

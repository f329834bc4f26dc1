//! Upstream connections of one worker: last in, first out, a short stack per endpoint.

use crate::buffers::Buffers;
use crate::dial::{DialError, Dialer, Endpoint};
use crate::h1_call::{OpenConn, UpstreamConn};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use tollkeep_types::MonoNanos;

#[derive(Default)]
struct Stack {
    idle: Vec<UpstreamConn>,
    open: Rc<Cell<usize>>,
}

/// The pool of one worker. Keyed by endpoint, which stands for scheme, name, port and TLS identity.
pub struct Pool {
    stacks: RefCell<HashMap<u64, Stack>>,
    dialer: Dialer,
    buffers: Rc<Buffers>,
}

impl Pool {
    /// An empty pool that opens connections through `dialer`.
    pub fn new(dialer: Dialer, buffers: Rc<Buffers>) -> Self {
        Self {
            stacks: RefCell::default(),
            dialer,
            buffers,
        }
    }

    /// An idle connection that is still quiet, if there is one.
    pub fn reuse(&self, endpoint: &Endpoint) -> Option<UpstreamConn> {
        let mut stacks = self.stacks.borrow_mut();
        let stack = stacks.get_mut(&endpoint.id)?;
        while let Some(mut conn) = stack.idle.pop() {
            if conn.is_quiet() {
                return Some(conn);
            }
        }
        None
    }

    /// A new connection.
    ///
    /// # Errors
    /// The endpoint has as many as it may, or the egress door or the network said no.
    pub async fn dial(&self, endpoint: &Endpoint) -> Result<UpstreamConn, DialError> {
        let open = Rc::clone(
            &self
                .stacks
                .borrow_mut()
                .entry(endpoint.id)
                .or_default()
                .open,
        );
        if open.get() >= endpoint.pool.connections_max {
            return Err(DialError::TooMany);
        }
        open.set(open.get() + 1);
        let counted = OpenConn(open);
        let io = self.dialer.dial(endpoint).await?;
        Ok(UpstreamConn::new(io, Rc::clone(&self.buffers), counted))
    }

    /// Takes a connection back. Only for one whose both messages ended exactly.
    pub fn give_back(&self, endpoint: &Endpoint, mut conn: UpstreamConn, now: MonoNanos) {
        if !conn.unread().is_empty() {
            return;
        }
        let mut stacks = self.stacks.borrow_mut();
        let stack = stacks.entry(endpoint.id).or_default();
        if stack.idle.len() < endpoint.pool.idle_per_host_max {
            conn.rest(
                now,
                u64::try_from(endpoint.pool.idle.as_nanos()).unwrap_or(u64::MAX),
            );
            stack.idle.push(conn);
        }
    }

    /// Closes connections idle for too long and those the upstream has closed.
    pub fn sweep(&self, now: MonoNanos) {
        for stack in self.stacks.borrow_mut().values_mut() {
            stack.idle.retain_mut(|conn| {
                now.since(conn.idle_since) < conn.idle_ns_max && conn.is_quiet()
            });
        }
    }
}

//! Upstream connections of one worker: last in, first out, a short stack per endpoint.

use crate::buffers::Buffers;
use crate::dial::{DialError, Endpoint, Tried};
use crate::h1_call::{OpenConn, UpstreamConn};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use tollkeep_types::MonoNanos;

/// Whom a connection serves, where owners are told apart.
pub type Owner = Option<[u8; 16]>;

/// The connections to one endpoint, which stands for scheme, name, port and TLS identity.
struct Stack {
    endpoint: u64,
    #[expect(
        clippy::vec_box,
        reason = "a connection goes from hand to hand in every request"
    )]
    idle: Vec<Box<UpstreamConn>>,
    open: Rc<Cell<usize>>,
}

/// The pool of one worker.
pub struct Pool {
    /// One for each endpoint in use: few.
    stacks: RefCell<Vec<Stack>>,
    buffers: Rc<Buffers>,
}

impl Pool {
    /// An empty pool.
    pub fn new(buffers: Rc<Buffers>) -> Self {
        Self {
            stacks: RefCell::default(),
            buffers,
        }
    }

    /// An idle connection of this owner that is still quiet, if there is one.
    pub fn reuse(&self, endpoint: &Endpoint, owner: Owner) -> Option<Box<UpstreamConn>> {
        let mut stacks = self.stacks.borrow_mut();
        let stack = stack_of(&mut stacks, endpoint.id);
        while let Some(at) = stack.idle.iter().rposition(|conn| conn.owner == owner) {
            let mut conn = stack.idle.remove(at);
            if conn.is_quiet() {
                return Some(conn);
            }
        }
        None
    }

    /// A new connection, if it can be to an address that was not `tried`.
    ///
    /// # Errors
    /// The endpoint has as many as it may, or the egress door or the network said no.
    pub async fn dial(
        &self,
        endpoint: &Endpoint,
        owner: Owner,
        tried: &mut Tried,
    ) -> Result<Box<UpstreamConn>, DialError> {
        let open = Rc::clone(&stack_of(&mut self.stacks.borrow_mut(), endpoint.id).open);
        if open.get() >= endpoint.pool.connections_max {
            return Err(DialError::TooMany);
        }
        let descriptor = endpoint.dialer.descriptor()?;
        open.set(open.get() + 1);
        let counted = OpenConn {
            open,
            _descriptor: descriptor,
        };
        let io = endpoint.dialer.dial(endpoint, tried).await?;
        let mut conn = UpstreamConn::new(io, Rc::clone(&self.buffers), counted);
        conn.owner = owner;
        Ok(Box::new(conn))
    }

    /// Takes a connection back. Only for one whose both messages ended exactly.
    pub fn give_back(&self, endpoint: &Endpoint, mut conn: Box<UpstreamConn>, now: MonoNanos) {
        if !conn.unread().is_empty() {
            return;
        }
        let mut stacks = self.stacks.borrow_mut();
        let stack = stack_of(&mut stacks, endpoint.id);
        if stack.idle.len() < endpoint.pool.idle_per_host_max {
            conn.rest(
                now,
                u64::try_from(endpoint.pool.idle.as_nanos()).unwrap_or(u64::MAX),
            );
            stack.idle.push(conn);
        }
    }

    /// Closes connections idle for too long, those the upstream has closed, and those to
    /// endpoints that are no longer `known`; forgets endpoints to which nothing is open.
    pub fn sweep(&self, now: MonoNanos, known: impl Fn(u64) -> bool) {
        self.stacks.borrow_mut().retain_mut(|stack| {
            let keep = known(stack.endpoint);
            stack.idle.retain_mut(|conn| {
                keep && now.since(conn.idle_since) < conn.idle_ns_max && conn.is_quiet()
            });
            stack.open.get() > 0
        });
    }
}

/// The stack of an endpoint, made where it is missing.
#[expect(
    clippy::indexing_slicing,
    reason = "the place was found, or made, just before"
)]
fn stack_of(stacks: &mut Vec<Stack>, endpoint: u64) -> &mut Stack {
    let found = stacks.iter().position(|stack| stack.endpoint == endpoint);
    let at = found.unwrap_or_else(|| {
        stacks.push(Stack {
            endpoint,
            idle: Vec::new(),
            open: Rc::default(),
        });
        stacks.len() - 1
    });
    &mut stacks[at]
}

//! Sockets, and everything that owns one: listeners and workers, caller connections, the one
//! egress door with its resolver and upstream pool, deadlines, drain.
//!
//! Nothing else in the product opens a socket. A worker is a thread with a current-thread
//! runtime, its own listener, buffers, deadlines and upstream pool; what it owns never leaves it.

pub mod acme;
pub mod buffers;
pub mod control;
pub mod deadlines;
pub mod descriptors;
pub mod dial;
pub mod drain;
pub mod fetch;
pub mod h1_call;
pub mod h1_serve;
mod h2_face;
pub mod h2_serve;
mod h2_stream;
pub mod hand_over;
mod handoff;
mod io;
pub mod listen;
pub mod pool;
pub mod redis;
pub mod resolve;
mod socket;
pub mod tls;
pub mod tunnel;
pub mod worker;

pub use deadlines::{Deadlines, Slot};
pub use descriptors::Descriptors;
pub use dial::{DialError, Dialer, Endpoint, Tried};
pub use drain::Drain;
pub use h1_call::{Pushed, UpstreamConn};
pub use h1_serve::{Downstream, Fill, Gone, Raced};
pub use h2_serve::{Http2, Incoming};
pub use pool::Pool;
pub use tollkeep_http2::{StreamEnd, StreamFault};
pub use tunnel::{Proxy, ProxyFault};

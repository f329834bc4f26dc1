//! The server's side of HTTP/2 (RFC 9113) and its field compression (RFC 7541), sans I/O: bytes
//! in, what changed out, and bytes to send.
//!
//! A stream has the face of a connection of HTTP/1.1: its request is read as that text, by the one
//! strict reader there is, and its answer's head is written from that text. What a request may be
//! is decided there; here is decided what the text would hide, and what frames may do. Everything
//! a client can make us keep or do has a bound, and what it has spent is counted by [`Budget`].

#![warn(missing_docs)]

mod budget;
mod connection;
mod frame;
mod head_text;
mod hpack;
mod opening;
mod receive;
mod send;
mod stream;

pub use budget::{Breach, Budget};
pub use connection::{Connection, Ended, Told};
pub use frame::{Frame, Kind, Reason};
pub use head_text::StreamFault;
pub use opening::{Opening, PREFACE};
pub use send::Write;
pub use stream::{Read, StreamEnd};

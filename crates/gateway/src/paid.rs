//! Requests that are paid for one by one.

mod door;

pub use door::{Delivery, NotPaid, Paid, Paying, PaymentDoor, Shown};

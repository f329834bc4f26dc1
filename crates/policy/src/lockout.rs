//! When an address that keeps failing is told to wait (ID-56, data plane).

use crate::rate::Quota;

/// Failing credentials one address may try: 20 a minute. Debit it on each failure; where it
/// refuses, the answer is 429 instead of 401. A valid credential is never held up by it.
pub const FAILED_CREDENTIALS: Quota = Quota::per(20, 60_000_000_000, 20);

//! Rate limits: the generic cell rate algorithm in integer nanoseconds, and how a limit is told.

use tollkeep_types::MonoNanos;

/// Which limit; [`Self::label`] is its name in fields and metrics (EDGE-87).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum RateClass {
    /// All data requests.
    Global,
    /// One client address.
    Ip,
    /// One route.
    Route,
    /// One access token.
    Token,
    /// One project.
    Project,
    /// Log-ins and tests of outside things.
    Strict,
}

impl RateClass {
    /// The name of the class.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::Ip => "ip",
            Self::Route => "route",
            Self::Token => "token",
            Self::Project => "project",
            Self::Strict => "strict",
        }
    }

    /// The name as an item of a structured field.
    const fn quoted(self) -> &'static [u8] {
        match self {
            Self::Global => b"\"global\"",
            Self::Ip => b"\"ip\"",
            Self::Route => b"\"route\"",
            Self::Token => b"\"token\"",
            Self::Project => b"\"project\"",
            Self::Strict => b"\"strict\"",
        }
    }
}

/// So many requests a window, so many of them at once (EDGE-85).
///
/// A cell's whole state is one number, its theoretical arrival time (TAT): when it will be empty
/// again. `interval = window / requests`; a request passes if `now >= TAT - (burst - 1) * interval`,
/// and then `TAT = max(TAT, now) + interval`. An expired TAT means the same as none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Quota {
    requests: u64,
    window_ns: u64,
    burst: u64,
    interval_ns: u64,
    /// The debt a full burst makes.
    debt_ns_max: u64,
}

/// What a limit makes of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It passes; `tat` is the state if it is debited.
    Pass {
        /// The new theoretical arrival time.
        tat: u64,
    },
    /// It does not; the state stays.
    Refuse {
        /// How long until it would pass.
        retry_after_ns: u64,
    },
}

impl Quota {
    /// `requests` every `window_ns`, `burst` at once. Zeros count as one: a limit that lets nothing
    /// pass is not a limit, and config refuses it. The interval is rounded up, so that never more
    /// pass than asked for.
    pub const fn per(requests: u64, window_ns: u64, burst: u64) -> Self {
        let requests = at_least_one(requests);
        let window_ns = at_least_one(window_ns);
        let burst = at_least_one(burst);
        let interval_ns = window_ns.div_ceil(requests);
        Self {
            requests,
            window_ns,
            burst,
            interval_ns,
            debt_ns_max: interval_ns.saturating_mul(burst),
        }
    }

    /// HOT. Whether one more request passes at `now`, with the state `tat` (0: never used).
    pub const fn check(&self, tat: u64, now: MonoNanos) -> Verdict {
        let debt = tat.saturating_sub(now.0);
        let tolerated = self.debt_ns_max - self.interval_ns;
        if debt > tolerated {
            return Verdict::Refuse {
                retry_after_ns: debt - tolerated,
            };
        }
        Verdict::Pass {
            tat: now.0.saturating_add(debt + self.interval_ns),
        }
    }

    /// HOT. The state after a request that was let through without asking, for limits that are
    /// debited when the request has ended (EDGE-93). The debt is never more than the burst.
    pub const fn charge(&self, tat: u64, now: MonoNanos) -> u64 {
        let debt = self.debt(tat, now).saturating_add(self.interval_ns);
        let capped = if debt > self.debt_ns_max {
            self.debt_ns_max
        } else {
            debt
        };
        now.0.saturating_add(capped)
    }

    /// The furthest state this quota leaves at `now`: a full burst is owed. Whoever keeps a state
    /// that is further ahead cuts it to this: a smaller quota left it before a reload, and what
    /// that one would still have refused no longer counts (EDGE-91).
    pub const fn tat_max(&self, now: MonoNanos) -> u64 {
        now.0.saturating_add(self.debt_ns_max)
    }

    /// How many requests would pass at once at `now`.
    pub const fn remaining(&self, tat: u64, now: MonoNanos) -> u64 {
        (self.debt_ns_max - self.debt(tat, now)) / self.interval_ns
    }

    /// How long until the whole burst is there again, in nanoseconds.
    pub const fn reset_ns(&self, tat: u64, now: MonoNanos) -> u64 {
        self.debt(tat, now)
    }

    /// Requests at once.
    pub const fn burst(&self) -> u64 {
        self.burst
    }

    /// One of so many equal shares, for a replica that counts alone (EDGE-90): so many times the
    /// window for the same requests, and that part of the burst. No share is less than one request
    /// a window and one at once.
    pub const fn share(&self, replicas: u64) -> Self {
        let replicas = at_least_one(replicas);
        let burst = self.burst / replicas;
        if self.requests < replicas {
            return Self::per(1, self.window_ns, burst);
        }
        Self::per(
            self.requests,
            self.window_ns.saturating_mul(replicas),
            burst,
        )
    }

    /// How many requests a replica takes at a time where limits are shared (EDGE-89): a twentieth
    /// of what passes in a second, at least one.
    pub const fn lease(&self) -> u64 {
        at_least_one(SECOND_NS / 20 / self.interval_ns)
    }

    /// What one request costs, in nanoseconds of TAT; what a debit that is taken back gives back.
    pub const fn interval_ns(&self) -> u64 {
        self.interval_ns
    }

    /// How far the cell is ahead of `now`, at most a full burst.
    const fn debt(&self, tat: u64, now: MonoNanos) -> u64 {
        let debt = tat.saturating_sub(now.0);
        if debt > self.debt_ns_max {
            self.debt_ns_max
        } else {
            debt
        }
    }

    /// Appends the value of `RateLimit-Policy` (EDGE-87): `"ip";q=10;w=1`. The window is in whole
    /// seconds, rounded up; the partition key stays with us.
    pub fn write_policy(&self, out: &mut Vec<u8>, class: RateClass) {
        out.extend_from_slice(class.quoted());
        out.extend_from_slice(b";q=");
        write_number(out, self.requests);
        out.extend_from_slice(b";w=");
        write_number(out, self.window_ns.div_ceil(SECOND_NS));
    }

    /// Appends the value of `RateLimit` (EDGE-87) after a request that passed: what is left, and
    /// the seconds until all is there again.
    pub fn write_state(&self, out: &mut Vec<u8>, class: RateClass, tat: u64, now: MonoNanos) {
        let left = self.remaining(tat, now);
        write_limit(
            out,
            class,
            left,
            self.reset_ns(tat, now).div_ceil(SECOND_NS),
        );
    }
}

/// Appends the value of `RateLimit` (EDGE-87) of a refusal: `"ip";r=0;t=1`.
pub fn write_exhausted(out: &mut Vec<u8>, class: RateClass, retry_after_ns: u64) {
    write_limit(out, class, 0, retry_after_s(retry_after_ns));
}

/// Appends a duration as Go writes it, as in `20ms`, `1.5s`, `6m0s`: in milliseconds, rounded up.
pub fn write_go_duration(out: &mut Vec<u8>, ns: u64) {
    let ms = ns.div_ceil(1_000_000);
    if ms > 0 && ms < 1_000 {
        write_number(out, ms);
        return out.extend_from_slice(b"ms");
    }
    let (hours, minutes, rest) = (ms / 3_600_000, ms / 60_000 % 60, ms % 60_000);
    if hours > 0 {
        write_number(out, hours);
        out.push(b'h');
    }
    if hours > 0 || minutes > 0 {
        write_number(out, minutes);
        out.push(b'm');
    }
    write_number(out, rest / 1_000);
    let mut fraction = rest % 1_000;
    if fraction > 0 {
        out.push(b'.');
        for place in [100, 10, 1] {
            if fraction > 0 {
                write_number(out, fraction / place);
                fraction %= place;
            }
        }
    }
    out.push(b's');
}

/// The value of `Retry-After`: whole seconds, rounded up, 1 to 3600.
pub const fn retry_after_s(retry_after_ns: u64) -> u64 {
    clamp(retry_after_ns.div_ceil(SECOND_NS), RETRY_AFTER_S_MAX)
}

/// The value of `retry-after-ms`: rounded up, 1 to 3 600 000.
pub const fn retry_after_ms(retry_after_ns: u64) -> u64 {
    clamp(
        retry_after_ns.div_ceil(1_000_000),
        RETRY_AFTER_S_MAX * 1_000,
    )
}

const SECOND_NS: u64 = 1_000_000_000;
const RETRY_AFTER_S_MAX: u64 = 3_600;

const fn at_least_one(value: u64) -> u64 {
    if value == 0 { 1 } else { value }
}

const fn clamp(value: u64, max: u64) -> u64 {
    if value > max {
        max
    } else {
        at_least_one(value)
    }
}

fn write_limit(out: &mut Vec<u8>, class: RateClass, left: u64, seconds: u64) {
    out.extend_from_slice(class.quoted());
    out.extend_from_slice(b";r=");
    write_number(out, left);
    out.extend_from_slice(b";t=");
    write_number(out, seconds);
}

/// HOT. A number in decimal. Small ones, which most are, are written in one piece.
fn write_number(out: &mut Vec<u8>, number: u64) {
    let digit = |place: u64| b'0' + u8::try_from(number / place % 10).unwrap_or(0);
    match number {
        0..10 => out.extend_from_slice(&[digit(1)]),
        10..100 => out.extend_from_slice(&[digit(10), digit(1)]),
        100..1_000 => out.extend_from_slice(&[digit(100), digit(10), digit(1)]),
        1_000.. => {
            if number >= 10_000 {
                write_number(out, number / 10_000);
            }
            out.extend_from_slice(&[digit(1_000), digit(100), digit(10), digit(1)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // EDGE-87
    #[test]
    fn durations_are_written_as_go_writes_them() {
        for (ms, text) in [
            (0, "0s"),
            (1, "1ms"),
            (999, "999ms"),
            (1_000, "1s"),
            (1_500, "1.5s"),
            (1_050, "1.05s"),
            (59_007, "59.007s"),
            (60_000, "1m0s"),
            (90_250, "1m30.25s"),
            (3_600_000, "1h0m0s"),
            (90_061_001, "25h1m1.001s"),
        ] {
            let mut out = Vec::new();
            write_go_duration(&mut out, ms * 1_000_000);
            assert_eq!(String::from_utf8(out).unwrap(), text, "{ms} ms");
        }
        let mut out = Vec::new();
        write_go_duration(&mut out, 1);
        assert_eq!(out, b"1ms", "rounded up");
    }

    proptest::proptest! {
        #[test]
        fn numbers_and_classes_are_written_as_the_formatter_writes_them(
            number: u64,
            bits in 0_u32..64,
        ) {
            for number in [number >> bits, 0, 9, 10, 99, 100, 999, 1_000, u64::MAX] {
                let mut out = b"r=".to_vec();
                write_number(&mut out, number);
                proptest::prop_assert_eq!(out, format!("r={number}").into_bytes());
            }
            for class in [
                RateClass::Global,
                RateClass::Ip,
                RateClass::Route,
                RateClass::Token,
                RateClass::Project,
                RateClass::Strict,
            ] {
                let quoted = format!("{:?}", class.label());
                proptest::prop_assert_eq!(class.quoted(), quoted.as_bytes());
            }
        }
    }
}

//! Splits a stream into events, takes the time it was sent out of each delta, and proves by the
//! stream's own checksum that no byte was lost or changed.

const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

pub(crate) struct Events {
    pending: Vec<u8>,
    sum: u64,
}

pub(crate) enum Event {
    /// A delta, sent at this time of the monotonic clock in nanoseconds.
    Stamped(u64),
    /// Another event with data.
    Other,
    /// The checksum of all that came before: right or wrong.
    Sum { right: bool },
}

impl Events {
    pub(crate) fn new() -> Self {
        Self {
            pending: Vec::new(),
            sum: FNV_START,
        }
    }

    pub(crate) fn feed(&mut self, data: &[u8], mut take: impl FnMut(Event)) {
        self.pending.extend_from_slice(data);
        let mut from = 0;
        while let Some(length) = memchr::memmem::find(&self.pending[from..], b"\n\n") {
            let event = &self.pending[from..from + length + 2];
            if let Some(sum) = event.strip_prefix(b": sum=") {
                let right = sum.trim_ascii_end() == format!("{:016x}", self.sum).as_bytes();
                take(Event::Sum { right });
            } else if memchr::memmem::find(event, b"data:").is_some() {
                take(stamp(event).map_or(Event::Other, Event::Stamped));
            }
            for byte in event {
                self.sum = (self.sum ^ u64::from(*byte)).wrapping_mul(FNV_PRIME);
            }
            from += length + 2;
        }
        self.pending.drain(..from);
    }
}

/// The digits after `@`.
fn stamp(event: &[u8]) -> Option<u64> {
    let digits = &event[memchr::memchr(b'@', event)? + 1..];
    let length = digits.iter().take_while(|b| b.is_ascii_digit()).count();
    std::str::from_utf8(&digits[..length]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FNV-1a of `data: a\n\n`.
    fn stream(sum: &str) -> Vec<u8> {
        format!("data: a\n\ndata: tok@12 b\n\n: sum={sum}\n\ndata: [DONE]\n\n").into_bytes()
    }

    fn sum_of(data: &[u8]) -> String {
        let sum = data.iter().fold(FNV_START, |sum, b| {
            (sum ^ u64::from(*b)).wrapping_mul(FNV_PRIME)
        });
        format!("{sum:016x}")
    }

    #[test]
    fn events_and_checksum_do_not_depend_on_the_cut() {
        let good = stream(&sum_of(b"data: a\n\ndata: tok@12 b\n\n"));
        for cut in 0..good.len() {
            let mut events = Events::new();
            let (mut stamps, mut others, mut sums) = (Vec::new(), 0, Vec::new());
            for part in [&good[..cut], &good[cut..]] {
                events.feed(part, |event| match event {
                    Event::Stamped(at) => stamps.push(at),
                    Event::Other => others += 1,
                    Event::Sum { right } => sums.push(right),
                });
            }
            assert_eq!(
                (stamps.as_slice(), others, sums.as_slice()),
                (&[12][..], 2, &[true][..]),
                "cut at {cut}"
            );
        }
    }

    #[test]
    fn a_changed_byte_is_seen() {
        let mut events = Events::new();
        let mut right = None;
        events.feed(
            &stream(&sum_of(b"data: a\n\ndata: tok@13 b\n\n")),
            |event| {
                if let Event::Sum { right: answer } = event {
                    right = Some(answer);
                }
            },
        );
        assert_eq!(right, Some(false));
    }
}

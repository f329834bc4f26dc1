//! What is assumed of an answer that broke off: an upper estimate, never zero.

use tollkeep_types::usage::{Class, Flag, Line, Lines, Partial, Told, UsageReport};

/// Tokens that may have been under way when an answer broke off.
const UNDER_WAY: u64 = 256;

/// What the request was bounded by, and who ended its answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Estimating {
    /// Input tokens at most.
    pub input_tokens: u64,
    /// The cap of output tokens, where one is known.
    pub cap: Option<u64>,
    /// The model may have thought unseen.
    pub hidden_reasoning: bool,
    /// We ended it, and the upstream may go on writing and billing.
    pub billing_goes_on: bool,
}

/// Makes the usage of a call final: as told, or estimated where it was not and that is allowed.
/// Without a cap, what could be as much as the cap stays unknown.
pub fn settle(told: &mut Told, by: impl FnOnce() -> Option<Estimating>) {
    let partial = told.partial.take();
    let certain = told.certain_output;
    let estimate = partial.and_then(|partial| estimate((*partial, certain), &by()?));
    if let Some(lines) = estimate {
        told.report = UsageReport::Estimated(lines);
    }
    if matches!(told.report, UsageReport::Estimated(_)) && !told.flags.has(Flag::Cut) {
        told.flags.add(Flag::NoUsage);
    }
}

/// What an upstream brought or told beyond its cap is no guess, and stays what it was (LED-53).
fn estimate((partial, certain): (Partial, u64), by: &Estimating) -> Option<Lines> {
    let mut lines = partial.lines.unwrap_or_else(|| {
        let mut first = Line {
            service: partial.service,
            ..Line::default()
        };
        first.usage.set(Class::InText, by.input_tokens);
        Lines {
            first,
            more: Vec::new(),
        }
    });
    let usage = &mut lines.first.usage;
    if usage.input() == 0 {
        usage.set(Class::InText, by.input_tokens);
    }
    let least = usage.output().max(certain);
    let seen = least.max(partial.delivered_bytes);
    let seen = seen.saturating_add(UNDER_WAY);
    let output = if by.hidden_reasoning || by.billing_goes_on {
        by.cap?
    } else {
        by.cap.map_or(seen, |cap| cap.min(seen))
    };
    for class in Class::ALL.into_iter().filter(|class| !class.is_input()) {
        usage.set(class, 0);
    }
    usage.set(Class::OutText, output.max(least));
    Some(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tollkeep_types::usage::{Flags, Service, UnknownUsage, Usage};

    fn told(lines: Option<Lines>, delivered_bytes: u64) -> Told {
        let mut flags = Flags::default();
        flags.add(Flag::Cut);
        let partial = Partial {
            lines,
            service: Service::Default,
            delivered_bytes,
        };
        Told {
            report: UsageReport::Unknown(UnknownUsage::Cut),
            flags,
            partial: Some(Box::new(partial)),
            certain_output: 0,
        }
    }

    fn counts(report: &UsageReport) -> Option<(u64, u64)> {
        let lines = report.lines()?;
        Some((lines.input(), lines.output()))
    }

    // LED-28
    #[test]
    fn an_estimate_is_never_below_what_may_be_billed() {
        let by = Estimating {
            input_tokens: 500,
            cap: Some(4096),
            hidden_reasoning: false,
            billing_goes_on: false,
        };
        let mut reported = Usage::default();
        reported.set(Class::InText, 70);
        reported.set(Class::OutText, 300);
        reported.set(Class::OutReasoning, 40);
        let reported = Some(Lines::from(reported));
        let hidden = Estimating {
            hidden_reasoning: true,
            ..by
        };
        let ours = Estimating {
            billing_goes_on: true,
            ..by
        };
        for (name, lines, bytes, by, want) in [
            ("by bytes", None, 10, by, Some((500, 266))),
            ("by the cap", None, 100_000, by, Some((500, 4096))),
            ("by totals", reported.clone(), 10, by, Some((70, 596))),
            ("bytes beyond totals", reported, 1000, by, Some((70, 1256))),
            ("hidden thinking", None, 10, hidden, Some((500, 4096))),
            ("ended by us", None, 10, ours, Some((500, 4096))),
            (
                "no cap",
                None,
                10,
                Estimating { cap: None, ..by },
                Some((500, 266)),
            ),
            (
                "no cap, hidden",
                None,
                10,
                Estimating {
                    cap: None,
                    ..hidden
                },
                None,
            ),
        ] {
            let mut told = told(lines, bytes);
            settle(&mut told, || Some(by));
            assert_eq!(counts(&told.report), want, "{name}");
            assert!(told.flags.has(Flag::Cut), "{name}");
        }
        let mut told = told(None, 10);
        settle(&mut told, || None);
        assert_eq!(told.report, UsageReport::Unknown(UnknownUsage::Cut));
    }

    // LED-28 LED-53
    #[test]
    fn what_was_seen_beyond_the_cap_for_certain_is_estimated_in_full() {
        let by = Estimating {
            input_tokens: 500,
            cap: Some(100),
            hidden_reasoning: false,
            billing_goes_on: true,
        };
        let mut reported = Usage::default();
        reported.set(Class::InText, 70);
        reported.set(Class::OutText, 900);
        let reported = Some(Lines::from(reported));
        for (name, lines, certain, want) in [
            ("no more bytes than a token has", None, 0, (500, 100)),
            ("seen, within the cap", None, 100, (500, 100)),
            ("seen, beyond it", None, 101, (500, 101)),
            ("told", reported.clone(), 0, (70, 900)),
            ("told, and more seen", reported, 1_000, (70, 1_000)),
        ] {
            let mut told = told(lines, 100_000);
            told.certain_output = certain;
            settle(&mut told, || Some(by));
            assert_eq!(counts(&told.report), Some(want), "{name}");
        }
    }
}

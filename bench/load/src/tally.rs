//! What is counted while the window is open.

use hdrhistogram::Histogram;

/// All times are microseconds.
pub(crate) struct Tally {
    pub(crate) open: bool,
    pub(crate) ok: u64,
    pub(crate) bad: u64,
    /// What the first bad answer was.
    pub(crate) first_bad: String,
    pub(crate) bytes: u64,
    /// To the end of an answer, or to the first byte of a stream.
    pub(crate) latency: Histogram<u64>,
    pub(crate) chunks: u64,
    /// Streams whose checksum was right.
    pub(crate) sums: u64,
    pub(crate) transit: Histogram<u64>,
    pub(crate) gap: Histogram<u64>,
    /// Requests given out by the open loop.
    pub(crate) given: u64,
}

impl Tally {
    pub(crate) fn new() -> anyhow::Result<Self> {
        let histogram = || Histogram::new_with_bounds(1, 600_000_000, 3);
        Ok(Self {
            open: false,
            ok: 0,
            bad: 0,
            first_bad: String::new(),
            bytes: 0,
            latency: histogram()?,
            chunks: 0,
            sums: 0,
            transit: histogram()?,
            gap: histogram()?,
            given: 0,
        })
    }

    pub(crate) fn bad(&mut self, why: impl FnOnce() -> String) {
        if self.open {
            self.bad += 1;
            if self.first_bad.is_empty() {
                let printable =
                    |c: &char| c.is_ascii() && !c.is_control() && !matches!(c, '"' | '\\');
                self.first_bad = why().chars().filter(printable).take(160).collect();
            }
        }
    }

    pub(crate) fn json(&self) -> String {
        format!(
            "\"ok\":{},\"bad\":{},\"mib\":{:.1},\"chunks\":{},\"sums\":{},\"lat_us\":{},\"transit_us\":{},\"gap_us\":{},\"first_bad\":\"{}\"",
            self.ok,
            self.bad,
            self.bytes as f64 / 1_048_576.0,
            self.chunks,
            self.sums,
            quantiles(&self.latency),
            quantiles(&self.transit),
            quantiles(&self.gap),
            self.first_bad,
        )
    }
}

fn quantiles(histogram: &Histogram<u64>) -> String {
    let at = |quantile: f64| histogram.value_at_quantile(quantile);
    format!(
        "{{\"n\":{},\"mean\":{:.0},\"p50\":{},\"p90\":{},\"p99\":{},\"p999\":{},\"max\":{}}}",
        histogram.len(),
        histogram.mean(),
        at(0.5),
        at(0.9),
        at(0.99),
        at(0.999),
        histogram.max(),
    )
}

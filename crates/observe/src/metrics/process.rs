//! What the kernel says of this process, read from `/proc`.

use super::render::{Text, seconds};
use std::fs;

/// Ticks a second in which Linux tells CPU times to programs, on every architecture we build for.
const TICKS_PER_SECOND: u64 = 100;

/// What the kernel says of this process.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Process {
    resident_bytes: u64,
    cpu_ns: u64,
    started_at_s: u64,
    open_fds: u64,
}

impl Process {
    /// As metrics.
    pub(super) fn render(self, text: &mut Text) {
        text.single(
            "process_resident_memory_bytes",
            "gauge",
            "Resident memory size in bytes.",
            self.resident_bytes,
        );
        text.single(
            "process_cpu_seconds_total",
            "counter",
            "User and system CPU time in seconds.",
            seconds(self.cpu_ns),
        );
        text.single(
            "process_start_time_seconds",
            "gauge",
            "Start time of the process since the epoch in seconds.",
            self.started_at_s,
        );
        text.single(
            "process_open_fds",
            "gauge",
            "Open file descriptors.",
            self.open_fds,
        );
    }

    /// Reads it; zeros where `/proc` is missing.
    pub(super) fn read() -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let fds = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        let mut process = Self::parse(
            &text("/proc/self/stat"),
            &text("/proc/self/status"),
            &text("/proc/stat"),
        );
        process.open_fds = u64::try_from(fds).unwrap_or(0);
        process
    }

    fn parse(stat: &str, status: &str, machine: &str) -> Self {
        // The second field is the program's name in parentheses and may hold anything.
        let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let field = |number: usize| {
            let text = after_name.split(' ').nth(number - 3).unwrap_or_default();
            text.parse::<u64>().unwrap_or(0)
        };
        let line = |text: &str, key: &str| {
            let found = text.lines().find_map(|line| line.strip_prefix(key));
            let number = found.and_then(|rest| rest.split_whitespace().next());
            number.and_then(|digits| digits.parse::<u64>().ok())
        };
        let ticks = field(14).saturating_add(field(15));
        let boot = line(machine, "btime ").unwrap_or(0);
        Self {
            resident_bytes: line(status, "VmRSS:").unwrap_or(0).saturating_mul(1024),
            cpu_ns: ticks.saturating_mul(1_000_000_000 / TICKS_PER_SECOND),
            started_at_s: boot.saturating_add(field(22) / TICKS_PER_SECOND),
            open_fds: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_misleads_nobody() {
        let stat = "1 (a) S (b) R 2 3 4 5 6 7 8 9 10 11 150 50 14 15 16 17 18 19 12300 21";
        let process = Process::parse(stat, "Name:\tx\nVmRSS:\t  2048 kB\n", "cpu 1\nbtime 1000\n");
        assert_eq!(process.cpu_ns, 2_000_000_000);
        assert_eq!(process.started_at_s, 1123);
        assert_eq!(process.resident_bytes, 2 << 20);
    }

    #[test]
    fn this_process_is_seen() {
        let process = Process::read();
        assert!(process.resident_bytes > 1 << 20);
        assert!(process.started_at_s > 1_500_000_000);
        assert!(process.open_fds > 2);
    }
}

//! What a process and its children use, read from /proc.

use std::collections::HashMap;
use std::fs::{read_dir, read_to_string};

/// CPU and memory of process trees at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Use {
    pub(crate) cpu_s: f64,
    pub(crate) rss_kib: u64,
    /// Resident, with shared pages split between those who share them.
    pub(crate) pss_kib: u64,
}

struct Process {
    parent: u32,
    /// Own and of children that ended.
    ticks: u64,
    rss_pages: u64,
}

impl Use {
    pub(crate) fn of(roots: &[u32]) -> Self {
        let mut all = processes();
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        for (pid, process) in &all {
            children.entry(process.parent).or_default().push(*pid);
        }
        let ticks_a_second = rustix::param::clock_ticks_per_second() as f64;
        let page_kib = rustix::param::page_size() as u64 / 1024;
        let mut sum = Self::default();
        let mut todo = roots.to_vec();
        while let Some(pid) = todo.pop() {
            if let Some(process) = all.remove(&pid) {
                sum.cpu_s += process.ticks as f64 / ticks_a_second;
                sum.rss_kib += process.rss_pages * page_kib;
                sum.pss_kib += pss_kib(pid).unwrap_or(process.rss_pages * page_kib);
                todo.extend(children.remove(&pid).unwrap_or_default());
            }
        }
        sum
    }

    pub(crate) fn own_cpu_s() -> f64 {
        Self::of(&[std::process::id()]).cpu_s
    }

    pub(crate) fn memory_json(&self) -> String {
        format!(
            "\"rss_mib\":{:.1},\"pss_mib\":{:.1}",
            self.rss_kib as f64 / 1024.0,
            self.pss_kib as f64 / 1024.0
        )
    }
}

fn processes() -> HashMap<u32, Process> {
    let entries = read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: u32| Some((pid, process(pid)?)))
        .collect()
}

/// Fields of /proc/PID/stat after the name, which may hold blanks: see proc(5).
fn process(pid: u32) -> Option<Process> {
    let stat = read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let number = |at: usize| {
        fields
            .get(at)
            .and_then(|text| text.parse::<u64>().ok())
            .unwrap_or(0)
    };
    let ticks = (11..=14).map(number).sum();
    Some(Process {
        parent: u32::try_from(number(1)).ok()?,
        ticks,
        rss_pages: number(21),
    })
}

fn pss_kib(pid: u32) -> Option<u64> {
    let text = read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.split_whitespace().next()?.parse().ok()
}

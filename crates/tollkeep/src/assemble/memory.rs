//! How much memory the process uses of what it may.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tollkeep_audit::{Action, Actor, Event, Logger, Outcome};
use tollkeep_config::settings::Limits;
use tollkeep_gateway::Shared;
use tollkeep_policy::shed::{Memory, Pressure};
use tollkeep_types::{Clock, WallMillis};

/// How often the kernel is asked. A crowd can fill a lot in less, so it is asked often.
const EVERY: Duration = Duration::from_millis(50);

/// Where control groups are mounted.
const CGROUPS: &str = "/sys/fs/cgroup";

/// What the process may use; `None` where nothing bounds it.
pub(crate) fn bound(limits: &Limits) -> Option<u64> {
    match limits.memory_bytes_max {
        Some(0) => None,
        Some(max) => Some(max),
        None => {
            let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
            let allowed = cgroup_limit(&own, Path::new(CGROUPS))?;
            Some(allowed / 10 * 9)
        }
    }
}

/// Keeps telling the workers how short memory is, and operators when that changes.
pub(crate) async fn watch(clock: Arc<dyn Clock>, audit: Option<Arc<Logger>>, shared: Arc<Shared>) {
    let mut watched: Option<((u64, u8), Memory)> = None;
    let mut was_short = false;
    loop {
        tokio::time::sleep(EVERY).await;
        let bound = shared.plan.load().memory();
        if watched.as_ref().map(|(of, _)| *of) != bound {
            watched = bound.map(|(max, percent)| ((max, percent), Memory::new(max, percent)));
        }
        let (pressure, used) = match &mut watched {
            None => (Pressure::None, 0),
            Some((_, memory)) => {
                let Some(used) = resident_bytes() else {
                    continue;
                };
                let bodies = shared.body_bytes.load(Ordering::Relaxed);
                let bodies = u64::try_from(bodies).unwrap_or(u64::MAX);
                (memory.pressure(used, bodies), used)
            }
        };
        shared.memory.set(pressure);
        let is_short = pressure != Pressure::None;
        if is_short != was_short {
            tell(is_short, used, clock.wall(), audit.as_deref());
        }
        was_short = is_short;
    }
}

fn tell(is_short: bool, used: u64, now: WallMillis, audit: Option<&Logger>) {
    let action = if is_short {
        tracing::warn!("Memory is short, {used} bytes are used: new requests are turned away");
        Action::SystemDegraded
    } else {
        tracing::info!("Memory is no longer short");
        Action::SystemRecovered
    };
    let event = Event::new(action, Actor::System, Outcome::Success)
        .with_reason("memory")
        .at(now);
    if let Some(audit) = audit
        && let Err(error) = audit.enqueue(&event)
    {
        tracing::error!("cannot record that memory is short or no longer is: {error}");
    }
}

/// What the process uses: `VmRSS` of its status.
fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib.saturating_mul(1024))
}

/// The least that the control groups the process is in allow, `own` being their names as
/// `/proc/self/cgroup` tells them. Both versions; a group's parents bound it too.
fn cgroup_limit(own: &str, mounted: &Path) -> Option<u64> {
    let limits = own.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (kinds, name) = (parts.next()?, parts.next()?);
        let (root, file) = match kinds {
            "" => (mounted.to_path_buf(), "memory.max"),
            _ if kinds.split(',').any(|kind| kind == "memory") => {
                (mounted.join("memory"), "memory.limit_in_bytes")
            }
            _ => return None,
        };
        least(&root, name, file)
    });
    // Version 1 writes a number near the largest there is for "no limit".
    limits.min().filter(|limit| *limit < 1 << 60)
}

fn least(root: &Path, name: &str, file: &str) -> Option<u64> {
    let mut group: PathBuf = root.join(name.trim_start_matches('/'));
    let mut found: Option<u64> = None;
    loop {
        let limit = fs::read_to_string(group.join(file));
        let limit = limit.ok().and_then(|text| text.trim().parse().ok());
        found = [found, limit].into_iter().flatten().min();
        if group == root || !group.pop() {
            return found;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // EDGE-54
    #[test]
    fn the_least_of_all_groups_around_the_process_bounds_it() {
        let mounted = tempfile::tempdir().unwrap();
        let write = |group: &str, file: &str, text: &str| {
            let folder = mounted.path().join(group);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(file), text).unwrap();
        };
        let limit = |own: &str| cgroup_limit(own, mounted.path());
        assert_eq!(limit("0::/a/b\n"), None, "nothing is mounted");
        write("a/b", "memory.max", "max\n");
        assert_eq!(limit("0::/a/b\n"), None);
        write("a", "memory.max", "1000\n");
        assert_eq!(limit("0::/a/b\n"), Some(1000), "the parent's");
        write("a/b", "memory.max", "500\n");
        assert_eq!(limit("0::/a/b\n"), Some(500), "its own");
        write("", "memory.max", "300\n");
        assert_eq!(limit("0::/a/b\n"), Some(300), "the container's");
        assert_eq!(limit("0::/\n"), Some(300));
        write("memory/c", "memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(limit("5:cpu,memory:/c\n"), None);
        write("memory/c", "memory.limit_in_bytes", "700\n");
        assert_eq!(limit("3:cpu:/x\n5:cpu,memory:/c\n"), Some(700));
        assert_eq!(limit("nonsense\n::\n"), Some(300));
    }

    #[test]
    fn this_process_uses_memory() {
        assert!(resident_bytes().unwrap() > 1 << 20);
    }
}

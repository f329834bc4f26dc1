//! How much room the disk of the audit file has: little is told, too little closes the gateway before
//! the disk is full.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tollkeep_audit::AuditHealth;

const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Less is told.
const LOW_BYTES: u64 = 100 << 20;
/// Less than so many of a hundred is told too.
const LOW_PERCENT: u64 = 5;
/// With less, nothing is admitted.
const LEAST_BYTES: u64 = 20 << 20;

/// How much room there is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Room {
    Enough,
    Low,
    TooLittle,
}

impl Room {
    const fn of(free: u64, all: u64) -> Self {
        if free < LEAST_BYTES {
            Self::TooLittle
        } else if free < LOW_BYTES || free < all / 100 * LOW_PERCENT {
            Self::Low
        } else {
            Self::Enough
        }
    }
}

/// Watches the disk of a file for as long as the process lives.
pub(super) async fn watch(file: PathBuf, health: Arc<AuditHealth>) {
    let mut told = Room::Enough;
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // It may be on a disk that hangs.
        let path = file.clone();
        let Ok(Some((free, all))) = tokio::task::spawn_blocking(move || room(&path)).await else {
            continue;
        };
        let room = Room::of(free, all);
        health.set_disk_full(room == Room::TooLittle);
        if room != told {
            tell(room, free, &file);
            told = room;
        }
    }
}

fn tell(room: Room, free: u64, file: &Path) {
    let (file, mib) = (file.display(), free >> 20);
    match room {
        Room::Enough => tracing::info!("The disk of the audit file `{file}` has room again"),
        Room::Low => tracing::warn!("The disk of the audit file `{file}` has only {mib} MiB left"),
        Room::TooLittle => tracing::error!(
            "The disk of the audit file `{file}` has only {mib} MiB left: nothing is admitted until \
             there are {} MiB",
            LEAST_BYTES >> 20
        ),
    }
}

/// Free bytes and all bytes of the disk of a file; `None` for what is none, such as a pipe.
fn room(file: &Path) -> Option<(u64, u64)> {
    if !std::fs::metadata(file).ok()?.is_file() {
        return None;
    }
    let disk = rustix::fs::statvfs(file).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
    Some((bytes(disk.f_bavail), bytes(disk.f_blocks)))
}

#[cfg(test)]
mod tests {
    use super::*;

    // AUD-22
    #[test]
    fn little_room_is_told_and_too_little_closes() {
        const GIB: u64 = 1 << 30;
        for (free, all, want) in [
            (50 * GIB, 100 * GIB, Room::Enough),
            (4 * GIB, 100 * GIB, Room::Low),
            (99 << 20, GIB, Room::Low),
            (100 << 20, GIB, Room::Enough),
            (20 << 20, 64 << 20, Room::Low),
            ((20 << 20) - 1, 64 << 20, Room::TooLittle),
            (0, 0, Room::TooLittle),
        ] {
            assert_eq!(Room::of(free, all), want, "{free} of {all}");
        }
    }
}

//! Whether files of the settings have changed and are left alone again.
//!
//! The truth is what `stat` says of a path, ten times a second: it follows symlinks, so the swap
//! of a folder behind one (as Kubernetes mounts do it), a rename over the file and a write into it
//! all look alike, and it works on disks that tell nobody of changes. A few calls cost less than
//! a machinery of events that would have to follow every link. What it can't tell is whether a
//! writer has finished; the kernel can (`inotify`), so a file that is being written is not read
//! before it is closed.

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use std::collections::HashSet;
use std::ffi::CStr;
use std::fs;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often is looked.
pub(crate) const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How many looks a changed file must look the same before it is read: 300 ms.
const LOOKS_QUIET: u32 = 3;

/// What tells one state of a file from another; `None` where there is none.
type Print = Option<[i128; 6]>;

fn print(path: &Path) -> Print {
    let about = fs::metadata(path).ok()?;
    Some([
        about.dev().into(),
        about.ino().into(),
        about.len().into(),
        i128::from(about.mtime()) * 1_000_000_000 + i128::from(about.mtime_nsec()),
        i128::from(about.ctime()) * 1_000_000_000 + i128::from(about.ctime_nsec()),
        about.mode().into(),
    ])
}

/// Files, as they were at one moment.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Files(Vec<(PathBuf, Print)>);

impl Files {
    /// These files, as they are now.
    pub(crate) fn look_at(paths: Vec<PathBuf>) -> Self {
        let files = paths.into_iter().map(|path| {
            let print = print(&path);
            (path, print)
        });
        Self(files.collect())
    }

    /// The same files, as they are now.
    pub(crate) fn look_again(&self) -> Self {
        Self::look_at(self.0.iter().map(|(path, _)| path.clone()).collect())
    }

    /// Other files: those known already as they were, others as they are now.
    pub(crate) fn exchanged_for(&self, paths: Vec<PathBuf>) -> Self {
        let files = paths.into_iter().map(|path| {
            let known = self.0.iter().find(|(known, _)| *known == path);
            let print = known.map_or_else(|| print(&path), |(_, print)| *print);
            (path, print)
        });
        Self(files.collect())
    }
}

/// Looks at files again and again.
#[derive(Default)]
pub(crate) struct Watch {
    /// What the last look saw.
    last: Files,
    /// How many looks saw the same.
    quiet: u32,
    writers: Writers,
}

impl Watch {
    /// Begins with files that were just `read`.
    pub(crate) fn begin(read: &Files) -> Self {
        let mut watch = Self::default();
        watch.writers.look(read);
        watch
    }

    /// The name of one of the files that somebody is writing, as far as the kernel tells.
    pub(crate) fn written(&mut self, read: &Files) -> Option<String> {
        self.writers.look(read);
        let name = self.writers.written.iter().next()?;
        Some(String::from_utf8_lossy(name).into_owned())
    }

    /// Whether the files are no longer what they were when they were `read`, have not changed for
    /// a while, and nobody is writing them. Called every [`LOOK_EVERY`].
    pub(crate) fn has_changed(&mut self, read: &Files) -> bool {
        self.writers.look(read);
        let now = read.look_again();
        if now != self.last {
            (self.last, self.quiet) = (now, 0);
            return false;
        }
        self.quiet = self.quiet.saturating_add(1);
        self.quiet >= LOOKS_QUIET && self.last != *read && self.writers.written.is_empty()
    }
}

/// Who is writing into files, as far as the kernel tells.
#[derive(Default)]
struct Writers {
    inotify: Option<OwnedFd>,
    /// The folders watched.
    folders: HashSet<PathBuf>,
    /// Names of our files that were written to and not closed since.
    written: HashSet<Vec<u8>>,
}

impl Writers {
    /// Takes note of what happened, and watches these files from now on.
    fn look(&mut self, files: &Files) {
        // The paths, and what they lead to: writers use either.
        let paths = files.0.iter().map(|(path, _)| path.clone());
        let targets = paths.clone().filter_map(|path| path.canonicalize().ok());
        let all: Vec<PathBuf> = paths.chain(targets).collect();
        self.watch(all.iter().filter_map(|path| path.parent()));
        let Some(inotify) = &self.inotify else {
            return;
        };
        let ours = |name: &[u8]| {
            let mut names = all.iter().filter_map(|path| path.file_name());
            names.any(|own| own.as_bytes() == name)
        };
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = Reader::new(inotify, &mut buffer);
        // Ends with "nothing more now", or with an error that ends it for good.
        while let Ok(event) = events.next() {
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                self.written.clear();
            }
            match event.file_name().map(CStr::to_bytes) {
                Some(name) if event.events().contains(ReadFlags::MODIFY) && ours(name) => {
                    self.written.insert(name.to_vec());
                }
                Some(name) => drop(self.written.take(name)),
                None => {}
            }
        }
    }

    fn watch<'p>(&mut self, folders: impl Iterator<Item = &'p Path>) {
        let here = |folder: &Path| folder.as_os_str().is_empty();
        let folders = folders.map(|folder| if here(folder) { Path::new(".") } else { folder });
        let folders: HashSet<PathBuf> = folders.map(Path::to_path_buf).collect();
        if folders == self.folders {
            return;
        }
        // Where the system gives no inotify, only the quiet time protects from half a file.
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).ok();
        let flags = WatchFlags::MODIFY
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVED_FROM
            | WatchFlags::DELETE;
        for folder in &folders {
            if let Some(inotify) = &inotify
                && let Err(error) = inotify::add_watch(inotify, folder, flags)
            {
                tracing::debug!("Writers in {} are not seen: {error}", folder.display());
            }
        }
        self.written.clear();
        (self.inotify, self.folders) = (inotify, folders);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_file_has_changed_when_it_is_left_alone_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "one").unwrap();
        let read = Files::look_at(vec![path.clone()]);
        let mut watch = Watch::begin(&read);
        let looks = |watch: &mut Watch, read: &Files, count: u32| {
            (0..count).filter(|_| watch.has_changed(read)).count()
        };
        assert_eq!(looks(&mut watch, &read, 10), 0, "it is what it was");
        fs::write(&path, "two and more").unwrap();
        assert_eq!(
            looks(&mut watch, &read, LOOKS_QUIET),
            0,
            "it may change again"
        );
        fs::write(&path, "three, and yet more").unwrap();
        assert_eq!(looks(&mut watch, &read, LOOKS_QUIET), 0, "and did");
        assert!(watch.has_changed(&read));
        let read = read.look_again();
        assert_eq!(looks(&mut watch, &read, 10), 0, "once");
        fs::remove_file(&path).unwrap();
        assert_eq!(
            looks(&mut watch, &read, LOOKS_QUIET + 1),
            1,
            "vanished is changed"
        );
    }

    #[test]
    fn a_file_that_is_being_written_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "one").unwrap();
        let read = Files::look_at(vec![path.clone()]);
        let mut watch = Watch::begin(&read);
        assert!(!watch.has_changed(&read));
        let mut file = fs::File::create(&path).unwrap();
        file.write_all(b"half a").unwrap();
        for _ in 0..10 * LOOKS_QUIET {
            assert!(!watch.has_changed(&read), "its writer is not done");
        }
        file.write_all(b" file").unwrap();
        drop(file);
        let looks = (0..=LOOKS_QUIET).filter(|_| watch.has_changed(&read));
        assert_eq!(looks.count(), 1);
    }
}

//! Printing to a reader that may have gone, as in `tollkeep config schema | head`.
//!
//! The macros of the standard library panic then. These, which take their places in this program,
//! say nothing more, and the command ends as it would have. What can't be written for another
//! reason, such as a full disk, is an error of the command.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Something was not written, and somebody may wait for it.
static LOST: AtomicBool = AtomicBool::new(false);

/// Writes to standard output.
pub(crate) fn to_stdout(text: fmt::Arguments<'_>) {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_fmt(text).and_then(|()| stdout.flush());
    note(written);
}

/// Writes to standard error. Where that can't be done, there is no place to tell it.
pub(crate) fn to_stderr(text: fmt::Arguments<'_>) {
    drop(io::stderr().lock().write_fmt(text));
}

fn note(written: io::Result<()>) {
    if let Err(error) = written
        && error.kind() != ErrorKind::BrokenPipe
        && !LOST.swap(true, Ordering::Relaxed)
    {
        to_stderr(format_args!(
            "tollkeep: cannot write to standard output: {error}\n"
        ));
    }
}

/// Whether something that was to be printed is lost.
pub(crate) fn is_lost() -> bool {
    LOST.load(Ordering::Relaxed)
}

macro_rules! print {
    ($($text:tt)*) => {
        $crate::print::to_stdout(format_args!($($text)*))
    };
}

macro_rules! println {
    ($($text:tt)*) => {
        $crate::print::to_stdout(format_args!("{}\n", format_args!($($text)*)))
    };
}

macro_rules! eprint {
    ($($text:tt)*) => {
        $crate::print::to_stderr(format_args!($($text)*))
    };
}

macro_rules! eprintln {
    ($($text:tt)*) => {
        $crate::print::to_stderr(format_args!("{}\n", format_args!($($text)*)))
    };
}

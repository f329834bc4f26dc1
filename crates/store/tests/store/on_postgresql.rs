//! The suite again, against PostgreSQL.

use crate::world::ON_POSTGRESQL;
use std::process::Command;

// ID-82
#[test]
#[ignore = "needs PostgreSQL: `make test`, or `tests/services.sh cargo test -- --ignored on_postgresql`"]
fn the_whole_suite_holds_on_postgresql() {
    let suite = Command::new(std::env::current_exe().unwrap())
        .env(ON_POSTGRESQL, "1")
        .args(["--include-ignored", "--test-threads", "4"])
        .args(["--skip", "sqlite::", "--skip", "on_postgresql::"])
        // What takes long, and what measures a file.
        .args(["--skip", "for_long", "--skip", "hot::"])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&suite.stdout).into_owned();
    assert!(
        suite.status.success(),
        "{told}{}",
        String::from_utf8_lossy(&suite.stderr)
    );
    assert!(!told.contains(" 0 passed"), "{told}");
}

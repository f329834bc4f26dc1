//! A PostgreSQL of a test's own, to stop, kill and start again.

use crate::gateway::Signal;
use crate::port::free_addr;
use crate::wait;
use rustix::process::{Pid, kill_process};
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use tempfile::TempDir;

/// What its logins are told apart by; none may ever be read anywhere.
pub const POSTGRES_PASSWORDS: [(&str, &str); 3] = [
    ("tollkeep_app", "Zq8-app-kTm2vXw7"),
    ("tollkeep_jobs", "pLs4-jobs-nRy9bHc3"),
    ("tollkeep_migrate", "dJf6-migrate-gVa1"),
];

/// A server with the roles and the database that the documentation asks for. Dropped, it is killed.
pub struct Postgres {
    folder: TempDir,
    bin: PathBuf,
    /// Whom it runs as, where the test is root: it refuses to be root itself.
    user: Option<(u32, u32)>,
    port: u16,
    child: Child,
}

/// What stands behind each answer in a [`Session`].
const END: &str = "~ that was all ~";

/// A client of a [`Postgres`] that stays.
pub struct Session {
    child: Child,
    asks: ChildStdin,
    told: BufReader<ChildStdout>,
}

impl Postgres {
    /// Starts one that takes logins with a password, with or without TLS.
    pub fn start() -> Self {
        Self::start_with("host all all 127.0.0.1/32 scram-sha-256")
    }

    /// Starts one with this line in its `pg_hba.conf`.
    ///
    /// # Panics
    /// PostgreSQL is not there, or does not start.
    pub fn start_with(access: &str) -> Self {
        let bin = programs().expect("PostgreSQL is installed (`tests/services.sh` does that)");
        let user = rustix::process::getuid().is_root().then(postgres_user);
        let folder = tempfile::tempdir().expect("a folder");
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("its mode");
        let home = folder.path().join("home");
        fs::create_dir(&home).expect("a folder");
        if let Some((uid, gid)) = user {
            chown(&home, Some(uid), Some(gid)).expect("its owner");
        }
        let data = home.join("data");
        let mut init = command(&bin.join("initdb"), user);
        init.arg("-D").arg(&data);
        init.args(["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C"]);
        init.args(["--no-sync", "--no-instructions"]);
        succeeded(&init.output().expect("initdb runs"));
        let hba = format!("local all postgres trust\n{access}\n");
        fs::write(data.join("pg_hba.conf"), hba).expect("a file");
        // It can't listen there, and ends.
        let mut server = Self {
            child: spawn(&bin, user, &home, 0),
            folder,
            bin,
            user,
            port: 0,
        };
        // Another process may take the port between the two steps.
        for _ in 0..10 {
            server.port = free_addr().port();
            if server.begin() {
                server.make_roles();
                return server;
            }
        }
        panic!("PostgreSQL does not start: {}", server.log());
    }

    /// Starts it again on its port, with everything that was committed.
    ///
    /// # Panics
    /// It does not start.
    pub fn restart(&mut self) {
        assert!(self.begin(), "it starts again: {}", self.log());
    }

    /// Kills it, as a crash would.
    pub fn kill(&mut self) {
        for pid in self.processes() {
            kill_process(pid, Signal::KILL).ok();
        }
        self.child.wait().ok();
    }

    /// Sends it a signal, such as STOP and CONT, with all that serve its connections.
    pub fn signal(&self, signal: Signal) {
        // The first of them makes the others: it is stopped before they are, and goes on after them.
        for pid in self.processes() {
            kill_process(pid, signal).ok();
        }
    }

    /// The URL of a login, with its password.
    pub fn url(&self, user: &str) -> String {
        let known = POSTGRES_PASSWORDS.iter().find(|(name, _)| *name == user);
        let (_, password) = known.expect("a login");
        format!(
            "postgres://{user}:{password}@127.0.0.1:{}/tollkeep",
            self.port
        )
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What it answers to a statement.
    ///
    /// # Panics
    /// It refuses.
    pub fn ask(&self, statement: &str) -> String {
        succeeded(&self.psql("tollkeep", &["-c", statement]))
    }

    /// A client that stays, for tests that ask very often. It ends with the server.
    ///
    /// # Panics
    /// It does not start.
    pub fn session(&self) -> Session {
        let mut psql = self.client("tollkeep");
        psql.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = psql.spawn().expect("psql runs");
        let (asks, told) = (child.stdin.take(), child.stdout.take());
        Session {
            child,
            asks: asks.expect("its input"),
            told: BufReader::new(told.expect("its output")),
        }
    }

    fn make_roles(&self) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let roles = root.join("migrations/postgres/roles.sql");
        let text = fs::read_to_string(roles).expect("the documented roles");
        let file = self.home().join("roles.sql");
        fs::write(&file, text).expect("a file");
        let given = POSTGRES_PASSWORDS.map(|(user, password)| {
            let name = user.trim_start_matches("tollkeep_");
            format!("{name}_password={password}")
        });
        let file = file.display().to_string();
        let mut arguments = vec!["-f", file.as_str()];
        for given in &given {
            arguments.extend(["-v", given.as_str()]);
        }
        succeeded(&self.psql("postgres", &arguments));
    }

    fn psql(&self, database: &str, arguments: &[&str]) -> Output {
        let mut psql = self.client(database);
        psql.args(arguments).output().expect("psql runs")
    }

    fn client(&self, database: &str) -> Command {
        let mut psql = command(&self.bin.join("psql"), self.user);
        psql.args(["-X", "-q", "-A", "-t", "-U", "postgres", "-d", database]);
        psql.args(["-v", "ON_ERROR_STOP=1", "-p", &self.port.to_string(), "-h"]);
        psql.arg(self.home());
        psql
    }

    fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.home().join("log")).unwrap_or_default()
    }

    /// Starts the server; whether it serves.
    fn begin(&mut self) -> bool {
        self.kill();
        self.child = spawn(&self.bin, self.user, &self.home(), self.port);
        let answers = wait::wait_until(wait::PATIENCE, || match self.child.try_wait() {
            Ok(Some(_)) | Err(_) => Some(false),
            Ok(None) => {
                let asked = self.psql("postgres", &["-c", "SELECT 1"]);
                asked.status.success().then_some(true)
            }
        });
        answers.unwrap_or(false)
    }

    /// The server's process, and those that it made.
    fn processes(&self) -> Vec<Pid> {
        let first = i32::try_from(self.child.id()).expect("a pid");
        let children = fs::read_to_string(format!("/proc/{first}/task/{first}/children"));
        let children = children.unwrap_or_default();
        let others = children
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok());
        let all = std::iter::once(first).chain(others);
        all.filter_map(Pid::from_raw).collect()
    }
}

impl Session {
    /// What the server answers to a statement.
    ///
    /// # Panics
    /// It refuses.
    pub fn ask(&mut self, statement: &str) -> String {
        let asked = format!("{statement};\n\\echo {END}\n");
        self.asks.write_all(asked.as_bytes()).expect("psql reads");
        let mut told = String::new();
        loop {
            let mut line = String::new();
            let read = self.told.read_line(&mut line).expect("psql answers");
            assert!(read > 0, "psql refused, as it says above: {statement}");
            if line.trim_end() == END {
                return told.trim_end().to_owned();
            }
            told.push_str(&line);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The newest version of the programs.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let versions = versions.filter_map(|version| Some(version.ok()?.path().join("bin")));
    let mut found: Vec<_> = versions.filter(|bin| bin.join("initdb").exists()).collect();
    found.sort();
    found.pop()
}

/// Whom Debian's package runs the server as.
fn postgres_user() -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").expect("users");
    let line = users.lines().find(|line| line.starts_with("postgres:"));
    let fields: Vec<&str> = line.expect("a user `postgres`").split(':').collect();
    let number = |at: usize| fields[at].parse().expect("a number");
    (number(2), number(3))
}

fn command(program: &Path, user: Option<(u32, u32)>) -> Command {
    let mut command = Command::new(program);
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    command.current_dir("/").stdin(Stdio::null());
    command
}

fn spawn(bin: &Path, user: Option<(u32, u32)>, home: &Path, port: u16) -> Child {
    let log = fs::File::create(home.join("log")).expect("a file");
    command(&bin.join("postgres"), user)
        .arg("-D")
        .arg(home.join("data"))
        .args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1"])
        .args(["-c", "fsync=off", "-c"])
        .arg(format!("unix_socket_directories={}", home.display()))
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("PostgreSQL runs")
}

fn succeeded(output: &Output) -> String {
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

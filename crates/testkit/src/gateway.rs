//! The binary under test, on free ports, in a folder of its own.

use crate::client::{Answer, Client};
use crate::log_lines::{json_lines, note_actions};
use crate::wait;
use rustix::process::{Pid, Resource, Rlimit, kill_process, prlimit};
use serde_json::Value;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;

pub use rustix::process::Signal;

/// The management key of every gateway under test.
pub const MANAGEMENT_KEY: &str = "mgt-Zq8kTm2vXw7pLs4nRy9bHc3dJf6gVa1eUi5o";

/// What a gateway is started with.
pub struct Builder {
    binary: PathBuf,
    config: String,
    sets: Vec<(String, String)>,
    env: Vec<(String, String)>,
    without: Vec<String>,
    in_file: Vec<String>,
    folder: Option<PathBuf>,
}

/// A start that was refused.
#[derive(Debug)]
pub struct NotStarted {
    /// The exit code.
    pub code: Option<i32>,
    /// What the gateway said.
    pub stderr: String,
}

/// A gateway that serves; dropped, it is killed.
pub struct Gateway {
    builder: Builder,
    folder: Folder,
    child: Child,
    data: SocketAddr,
    listen: Vec<SocketAddr>,
    management: SocketAddr,
    metrics: SocketAddr,
}

/// Where a gateway keeps its things; kept for as long as somebody needs it.
enum Folder {
    Own(TempDir),
    Given(PathBuf),
}

impl Folder {
    fn path(&self) -> &Path {
        match self {
            Self::Own(folder) => folder.path(),
            Self::Given(path) => path,
        }
    }
}

impl Builder {
    /// The file `tollkeep.yaml`. Folders, ports and the management key are filled in.
    pub fn config(mut self, yaml: impl Into<String>) -> Self {
        self.config = yaml.into();
        self
    }

    /// A key of the configuration, over the file and what is filled in.
    pub fn set(mut self, key: &str, value: impl Into<String>) -> Self {
        self.sets.retain(|(known, _)| known != key);
        self.sets.push((key.to_owned(), value.into()));
        self
    }

    /// Leaves a key that is filled in otherwise to the file.
    pub fn in_file(mut self, key: &str) -> Self {
        self.in_file.push(key.to_owned());
        self
    }

    /// A variable of the environment, which has no others.
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// Takes a variable away that every gateway under test has.
    pub fn without_env(mut self, name: &str) -> Self {
        self.without.push(name.to_owned());
        self
    }

    /// Another program than the binary, which starts it with the arguments it is given.
    pub fn binary(mut self, path: impl Into<PathBuf>) -> Self {
        self.binary = path.into();
        self
    }

    /// A folder that outlives the gateway, instead of one of its own.
    pub fn folder(mut self, path: impl Into<PathBuf>) -> Self {
        self.folder = Some(path.into());
        self
    }

    /// Starts the gateway and waits until it serves.
    ///
    /// # Panics
    /// It does not start.
    pub fn start(self) -> Gateway {
        self.try_start().unwrap_or_else(|failed| {
            panic!(
                "the gateway did not start: {:?}\n{}",
                failed.code, failed.stderr
            )
        })
    }

    /// Starts the gateway, which may refuse.
    ///
    /// # Errors
    /// It ended before it served.
    ///
    /// # Panics
    /// It neither serves nor ends.
    pub fn try_start(self) -> Result<Gateway, NotStarted> {
        let folder = match &self.folder {
            Some(path) => Folder::Given(path.clone()),
            None => Folder::Own(tempfile::tempdir().expect("a folder")),
        };
        self.start_in(folder)
    }

    fn start_in(self, folder: Folder) -> Result<Gateway, NotStarted> {
        let path = folder.path();
        let file = |name: &str| path.join(name);
        fs::write(file("tollkeep.yaml"), &self.config).expect("a configuration file");
        let out = |name: &str| File::create(file(name)).expect("an output file");
        let mut command = Command::new(&self.binary);
        command
            .arg("serve")
            .arg("--print-addr")
            .arg("--config")
            .arg(file("tollkeep.yaml"));
        for (key, value) in self.filled_in(path).iter().chain(&self.sets) {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        command
            .env_clear()
            .env("TOLLKEEP_MANAGEMENT_KEY", MANAGEMENT_KEY);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        for name in &self.without {
            command.env_remove(name);
        }
        command
            .current_dir(path)
            .stdin(Stdio::null())
            .stdout(out("stdout.log"))
            .stderr(out("stderr.log"));
        let mut child = command.spawn().expect("the binary runs");
        let ready = wait::wait_until(wait::PATIENCE, || {
            let text = fs::read_to_string(file("stdout.log")).unwrap_or_default();
            // A sink of audit records may have written before.
            let is_ready = |line: &&str| line.contains("\"listen\":") && line.ends_with('}');
            let line = text.lines().find(is_ready).map(str::to_owned);
            line.map(Ok).or_else(|| Some(Err(child.try_wait().ok()??)))
        });
        let line = match ready {
            Some(Ok(line)) => line,
            Some(Err(status)) => {
                let stderr = fs::read_to_string(file("stderr.log")).unwrap_or_default();
                return Err(NotStarted {
                    code: status.code(),
                    stderr,
                });
            }
            None => {
                child.kill().ok();
                panic!(
                    "neither ready nor ended: {}",
                    fs::read_to_string(file("stderr.log")).unwrap_or_default()
                );
            }
        };
        let ready: Value = serde_json::from_str(&line).expect("a JSON line");
        let addr = |name: &str| ready[name].as_str().and_then(|text| text.parse().ok());
        // A listener that is off has no address; what asks for it fails there.
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let listen = ready["listen"].as_array();
        let listen = listen.into_iter().flatten().filter_map(Value::as_str);
        Ok(Gateway {
            listen: listen
                .map(|text| text.parse().expect("an address"))
                .collect(),
            data: addr("data").expect("the data address"),
            management: addr("management").unwrap_or(nowhere),
            metrics: addr("metrics").unwrap_or(nowhere),
            builder: self,
            folder,
            child,
        })
    }

    /// What every gateway under test has, unless the test sets it.
    fn filled_in(&self, folder: &Path) -> Vec<(String, String)> {
        let path = |name: &str| folder.join(name).display().to_string();
        let keys = [
            ("data_dir", path("data")),
            ("store.path", path("data/tollkeep.db")),
            ("audit.file", path("data/audit.log")),
            ("server.port", "0".to_owned()),
            ("server.workers", "2".to_owned()),
            ("management.listen", "127.0.0.1:0".to_owned()),
            ("metrics.port", "0".to_owned()),
            ("logging.level", "debug".to_owned()),
            // Disks of busy machines stall for longer than the default of 250 ms.
            ("audit.deadline", "60s".to_owned()),
            // All tests come from one address, and sign in more often than people do.
            (STRICT, "1000000".to_owned()),
            (STRICT_ALL, "1000000".to_owned()),
        ];
        let in_sets = |key: &str| self.sets.iter().any(|(known, _)| known == key);
        let unset = |key: &str| !in_sets(key) && !self.in_file.iter().any(|known| known == key);
        keys.into_iter()
            .filter(|(key, _)| unset(key))
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    }
}

/// The long forms of tests are run with an optimised binary, without building the tests anew.
const BINARY_VARIABLE: &str = "TOLLKEEP_BINARY";
/// How often an address may sign in to management in a minute.
pub const STRICT: &str = "server.rate_limit_classes.strict.requests";
/// And all addresses together.
pub const STRICT_ALL: &str = "server.rate_limit_classes.strict.global.requests";

impl Gateway {
    /// What to start `binary` with, or the binary that `TOLLKEEP_BINARY` names.
    pub fn builder(binary: impl Into<PathBuf>) -> Builder {
        let named = std::env::var_os(BINARY_VARIABLE);
        Builder {
            binary: named.map_or_else(|| binary.into(), PathBuf::from),
            config: String::new(),
            sets: Vec::new(),
            env: Vec::new(),
            without: Vec::new(),
            in_file: Vec::new(),
            folder: None,
        }
    }

    /// The data listener.
    pub fn data(&self) -> SocketAddr {
        self.data
    }

    /// All data listeners, in the order of the settings.
    pub fn listen(&self) -> &[SocketAddr] {
        &self.listen
    }

    /// The management listener.
    pub fn management(&self) -> SocketAddr {
        self.management
    }

    /// The metrics listener.
    pub fn metrics(&self) -> SocketAddr {
        self.metrics
    }

    /// The folder that holds everything of this gateway.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.folder().join("tollkeep.yaml")
    }

    /// Puts another configuration into the place of the file, at one moment.
    ///
    /// # Panics
    /// The file can't be written.
    pub fn configure(&self, yaml: impl AsRef<str>) {
        let new = self.folder().join("tollkeep.yaml.new");
        fs::write(&new, yaml.as_ref()).expect("a file");
        fs::rename(&new, self.config_file()).expect("a configuration file");
    }

    /// The data folder.
    pub fn data_dir(&self) -> PathBuf {
        self.folder().join("data")
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// The process is gone.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a pid");
        kill_process(pid, signal).expect("the process is there");
    }

    /// Lets no file of the process grow beyond so many bytes; `None` lets them grow again. The
    /// process has to ignore `XFSZ`.
    ///
    /// # Panics
    /// The process is gone.
    pub fn limit_files(&self, bytes: Option<u64>) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        let limits = Rlimit {
            current: bytes,
            maximum: None,
        };
        prlimit(pid, Resource::Fsize, limits).expect("the process is there");
    }

    /// The status the process ended with, if it does within `patience`.
    pub fn wait_exit(&mut self, patience: Duration) -> Option<ExitStatus> {
        wait::wait_until(patience, || self.child.try_wait().expect("a child"))
    }

    /// Kills the process, as a crash would, and waits for its end.
    pub fn kill(&mut self) {
        self.child.kill().ok();
        let status = self.child.wait().expect("a child");
        assert!(
            status.signal().is_some() || status.code().is_some(),
            "the process ended"
        );
    }

    /// Kills the process and starts another in the same folder.
    ///
    /// # Errors
    /// It ended before it served.
    pub fn restart(mut self) -> Result<Self, NotStarted> {
        self.kill();
        let nothing = Builder {
            binary: PathBuf::new(),
            config: String::new(),
            sets: Vec::new(),
            env: Vec::new(),
            without: Vec::new(),
            in_file: Vec::new(),
            folder: None,
        };
        let builder = std::mem::replace(&mut self.builder, nothing);
        let folder = std::mem::replace(&mut self.folder, Folder::Given(PathBuf::new()));
        builder.start_in(folder)
    }

    /// A connection to the data listener.
    pub fn connect(&self) -> Client {
        Client::connect(self.data)
    }

    /// One request on a connection of its own.
    pub fn call(&self, request: &[u8]) -> Answer {
        self.connect().call(request)
    }

    /// Runs a command of the binary where `./data` is this gateway's data folder, with the
    /// management key in the environment.
    pub fn cli(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(&self.builder.binary);
        command.args(arguments);
        command
            .env_clear()
            .env("TOLLKEEP_MANAGEMENT_KEY", MANAGEMENT_KEY);
        command
            .current_dir(self.folder())
            .stdin(Stdio::null())
            .output()
            .expect("the binary runs")
    }

    /// As [`Self::cli`], with this on standard input.
    pub fn cli_with(&self, arguments: &[&str], input: &str) -> Output {
        let file = self.folder().join("stdin");
        fs::write(&file, input).expect("the folder takes a file");
        let input = File::open(&file).expect("it is there");
        let mut command = Command::new(&self.builder.binary);
        command
            .args(arguments)
            .env_clear()
            .env("TOLLKEEP_MANAGEMENT_KEY", MANAGEMENT_KEY)
            .current_dir(self.folder())
            .stdin(Stdio::from(input))
            .output()
            .expect("the binary runs")
    }

    /// A call of the management API: status and JSON body (null if there is none).
    pub fn api(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {MANAGEMENT_KEY}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            self.management,
            body.len()
        );
        let answer = Client::connect(self.management).call(request.as_bytes());
        let value = if answer.body.is_empty() {
            Value::Null
        } else {
            answer.json()
        };
        (answer.status, value)
    }

    /// Makes a token with these members and gives its text.
    ///
    /// # Panics
    /// It is refused.
    pub fn mint_token(&self, members: &Value) -> String {
        let (status, made) = self.api("POST", "/api/v1/tokens", Some(members));
        assert_eq!(status, 201, "{made}");
        made["secret"].as_str().expect("the token").to_owned()
    }

    /// The events of the audit log so far.
    pub fn audit_lines(&self) -> Vec<Value> {
        // A day may end under a test, and its file with it.
        let entries = fs::read_dir(self.data_dir()).into_iter().flatten();
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let is_closed = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("audit-") && name.ends_with(".log")
        };
        let mut files: Vec<_> = paths.filter(is_closed).collect();
        files.sort();
        files.push(self.data_dir().join("audit.log"));
        files.iter().flat_map(|path| json_lines(path)).collect()
    }

    /// Waits for an audit event.
    pub fn audit_line(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        wait::eventually(what, || self.audit_lines().into_iter().find(&wanted))
    }

    /// The usage records so far.
    pub fn usage_lines(&self) -> Vec<Value> {
        json_lines(&self.data_dir().join("usage.jsonl"))
    }

    /// The access lines so far (on standard output, behind the line with the addresses).
    pub fn access_lines(&self) -> Vec<Value> {
        json_lines(&self.folder().join("stdout.log"))
            .into_iter()
            .skip(1)
            .collect()
    }

    /// The scrape of the metrics listener.
    pub fn metrics_text(&self) -> String {
        let request = format!(
            "GET /metrics HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\r\n",
            self.metrics
        );
        Client::connect(self.metrics)
            .call(request.as_bytes())
            .text()
    }

    /// What the process said on standard error so far.
    pub fn stderr(&self) -> String {
        fs::read_to_string(self.folder().join("stderr.log")).unwrap_or_default()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        note_actions(self.folder());
    }
}

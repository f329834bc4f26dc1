//! A Redis of a test's own, to stop, kill and start again.

use crate::gateway::Signal;
use crate::port::free_addr;
use crate::wait;
use rustix::process::{Pid, kill_process};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// A server that keeps nothing on the disk; dropped, it is killed.
pub struct Redis {
    folder: TempDir,
    arguments: Vec<String>,
    addr: SocketAddr,
    child: Child,
}

impl Redis {
    /// Starts one.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts one with further arguments, in which `{port}` is its port.
    ///
    /// # Panics
    /// `redis-server` is not there, or does not start.
    pub fn start_with(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let arguments: Vec<String> = arguments.iter().map(|text| (*text).to_owned()).collect();
        // Another process may take the port between the two steps.
        for _ in 0..10 {
            let addr = free_addr();
            let mut child = spawn(&folder, addr.port(), &arguments);
            if answers(addr, &mut child) {
                return Self {
                    folder,
                    arguments,
                    addr,
                    child,
                };
            }
            child.kill().ok();
            child.wait().ok();
        }
        panic!("redis-server does not start");
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis://{}", self.addr)
    }

    /// A connection to it.
    ///
    /// # Panics
    /// It does not accept.
    pub fn connect(&self) -> TcpStream {
        TcpStream::connect(self.addr).expect("a connection")
    }

    /// Sends it a signal, such as STOP and CONT.
    ///
    /// # Panics
    /// It is gone.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a pid"), signal).expect("the server is there");
    }

    /// Kills it, as a crash would: what it knew is gone.
    pub fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }

    /// Starts it again on its port, knowing nothing.
    ///
    /// # Panics
    /// It does not start.
    pub fn restart(&mut self) {
        self.kill();
        self.child = spawn(&self.folder, self.addr.port(), &self.arguments);
        assert!(answers(self.addr, &mut self.child), "it starts again");
    }

    /// What it answers to a command in one line.
    ///
    /// # Panics
    /// It does not answer.
    pub fn ask(&self, command: &str) -> String {
        ask(self.addr, command).expect("an answer")
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(folder: &TempDir, port: u16, arguments: &[String]) -> Child {
    Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .arg("--port")
        .arg(port.to_string())
        .arg("--dir")
        .arg(folder.path())
        .args(
            arguments
                .iter()
                .map(|text| text.replace("{port}", &port.to_string())),
        )
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is installed (`tests/services.sh` does that)")
}

/// Waits until it serves. One behind TLS does not answer in clear text, but ends what it can't read.
fn answers(addr: SocketAddr, child: &mut Child) -> bool {
    let answered = wait::wait_until(wait::PATIENCE, || match child.try_wait() {
        Ok(Some(_)) | Err(_) => Some(false),
        Ok(None) => ask(addr, "PING").map(|_| true),
    });
    answered.unwrap_or(false)
}

/// Sends one inline command; the first piece of the answer.
fn ask(addr: SocketAddr, command: &str) -> Option<String> {
    let mut stream = TcpStream::connect(addr).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    stream.write_all(format!("{command}\r\n").as_bytes()).ok()?;
    let mut bytes = [0; 4096];
    let len = match stream.read(&mut bytes) {
        Ok(len) => len,
        // Behind TLS it drops what it can't read.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => 0,
        Err(_) => return None,
    };
    Some(String::from_utf8_lossy(bytes.get(..len)?).into_owned())
}

//! An audit log that can't be written, of a gateway that is not root: what root may do all the same shows
//! nothing of faults. Run as root these tests give the gateway a user without rights.

use crate::callers::{answer, bearer, chat, models};
use crate::fixture::TOLLKEEP;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tollkeep_testkit::{Builder, Gateway, Origin, PATIENCE, Signal, eventually, wait_until};

/// Nobody.
const UID: u32 = 65_534;
/// The deadline of the defaults and 50 ms, and room for a busy machine.
const SOON: Duration = Duration::from_secs(2);

/// A folder that belongs to nobody, and a program there that starts the gateway as nobody.
struct Home {
    folder: tempfile::TempDir,
    program: PathBuf,
}

impl Home {
    /// `None` where this user may not give itself another.
    fn new() -> Option<Self> {
        let is_root = rustix::process::geteuid().is_root();
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("as-nobody");
        let binary = folder.path().join("tollkeep");
        if fs::hard_link(TOLLKEEP, &binary).is_err() {
            fs::copy(TOLLKEEP, &binary).unwrap();
        }
        let script = format!(
            "#!/bin/sh\nexec setpriv --reuid {UID} --regid {UID} --clear-groups --no-new-privs {} \"$@\"\n",
            binary.display()
        );
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let can = is_root
            && Command::new(&program)
                .arg("--version")
                .output()
                .is_ok_and(|done| {
                    // The folder is root's still, and is given away only now.
                    done.status.success() || done.status.code() == Some(126)
                });
        if !can {
            eprintln!("not run: only root may run the gateway as somebody else");
            return None;
        }
        own(folder.path());
        Some(Self { folder, program })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A folder of nobody's in it.
    fn make(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir(&path).unwrap();
        own(&path);
        path
    }

    fn gateway(&self, origin: &Origin, file: &Path) -> Builder {
        models(origin)
            .binary(&self.program)
            .folder(self.folder.path())
            .set("audit.file", file.to_str().unwrap())
            .set("audit.deadline", "250ms")
            .set("audit.store_in_db", "false")
    }
}

fn own(path: &Path) {
    chown(path, Some(UID), Some(UID)).unwrap();
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A token, as soon as the log takes its event.
fn token(gateway: &Gateway) -> String {
    let made = eventually("a token", || {
        let (status, made) = gateway.api("POST", "/api/v1/tokens", Some(&json!({})));
        (status == 201).then_some(made)
    });
    made["secret"].as_str().unwrap().to_owned()
}

fn call(gateway: &Gateway, token: &str) -> u16 {
    gateway.call(&chat(&bearer(token), "hi")).status
}

fn ready(gateway: &Gateway) -> u16 {
    let answer = gateway.call(b"GET /ready HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    answer.status
}

/// Waits until calls are refused, and asserts that from then on nothing waits and nothing is done.
fn assert_closes(gateway: &Gateway, token: &str, origin: &Origin) {
    let mut slowest = Duration::ZERO;
    let mut timed = |ask: &dyn Fn() -> u16| {
        let began = Instant::now();
        let status = ask();
        slowest = slowest.max(began.elapsed());
        status
    };
    eventually("calls are refused", || {
        (timed(&|| call(gateway, token)) == 503).then_some(())
    });
    let served = origin.count();
    for _ in 0..5 {
        let made = timed(&|| gateway.api("POST", "/api/v1/tokens", Some(&json!({}))).0);
        assert_eq!((made, timed(&|| call(gateway, token))), (503, 503));
        assert_eq!(ready(gateway), 503);
    }
    assert!(slowest < SOON, "{slowest:?}");
    assert_eq!(origin.count(), served, "nothing went on");
}

fn assert_heals(gateway: &Gateway, token: &str) {
    eventually("it heals without a restart", || {
        (ready(gateway) == 200 && call(gateway, token) == 200).then_some(())
    });
    self::token(gateway);
}

fn lines(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn count(lines: &[Value], action: &str) -> u64 {
    lines.iter().filter(|line| line["action"] == action).count() as u64
}

// AUD-40 AUD-41
#[test]
fn a_removed_folder_closes_the_gateway_until_it_is_there_again() {
    let Some(home) = Home::new() else { return };
    let origin = Origin::start(answer);
    let folder = home.make("log");
    let gateway = home.gateway(&origin, &folder.join("audit.log")).start();
    let token = token(&gateway);
    assert_eq!(call(&gateway, &token), 200);
    fs::remove_dir_all(&folder).unwrap();
    assert_closes(&gateway, &token, &origin);
    assert!(!folder.exists(), "it is not made again");
    home.make("log");
    assert_heals(&gateway, &token);
    let lines = lines(&folder.join("audit.log"));
    assert_eq!(count(&lines, "audit.recovered"), 1);
}

// AUD-40 AUD-41
#[test]
fn a_full_disk_closes_the_gateway_until_there_is_room() {
    let Some(home) = Home::new() else { return };
    let disk = home.make("disk");
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64m,mode=0777", "tmpfs"])
        .arg(&disk)
        .output();
    if !mounted.is_ok_and(|done| done.status.success()) {
        eprintln!("not run: mounting is not allowed here");
        return;
    }
    let origin = Origin::start(answer);
    let file = disk.join("audit.log");
    let mut gateway = home.gateway(&origin, &file).start();
    let token = token(&gateway);
    assert_eq!(call(&gateway, &token), 200);
    let ballast = disk.join("ballast");
    let _full = fs::write(&ballast, vec![0; 65 << 20]);
    assert_closes(&gateway, &token, &origin);
    fs::remove_file(&ballast).unwrap();
    assert_heals(&gateway, &token);
    gateway.signal(Signal::TERM);
    gateway.wait_exit(Duration::from_secs(20));
    let text = fs::read_to_string(&file).unwrap();
    assert_eq!(crate::audit_kept::faults(&text), []);
    let unmounted = Command::new("umount").arg(&disk).status();
    assert!(unmounted.unwrap().success());
}

// AUD-41
#[test]
fn a_pipe_that_only_root_may_open_is_no_log_and_one_without_a_reader_closes() {
    let Some(home) = Home::new() else { return };
    let origin = Origin::start(answer);
    let pipe = home.path("audit.pipe");
    let made = Command::new("mkfifo")
        .arg("-m")
        .arg("600")
        .arg(&pipe)
        .status();
    assert!(made.unwrap().success());
    let refused = home.gateway(&origin, &pipe).try_start();
    let refused = refused.err().expect("it is root's");
    assert_eq!(refused.code, Some(3), "{}", refused.stderr);
    assert!(refused.stderr.contains("65534"), "{}", refused.stderr);
    own(&pipe);
    let gateway = home.gateway(&origin, &pipe).start();
    assert_closes(&gateway, "tok-any", &origin);
    let reading = fs::File::open(&pipe).unwrap();
    let sink = std::thread::spawn(move || {
        let mut reading = std::io::BufReader::new(reading);
        // It goes on until the gateway is gone.
        std::io::copy(&mut reading, &mut std::io::sink()).ok();
    });
    eventually("it heals", || (ready(&gateway) == 200).then_some(()));
    let token = token(&gateway);
    assert_eq!(call(&gateway, &token), 200);
    drop(gateway);
    sink.join().unwrap();
}

// AUD-40 AUD-60
#[test]
fn rights_that_are_taken_away_lose_nothing_and_are_told_at_the_next_start() {
    let Some(home) = Home::new() else { return };
    let origin = Origin::start(answer);
    let folder = home.make("log");
    let file = folder.join("audit.log");
    let start = || home.gateway(&origin, &file).try_start();
    let mut gateway = start().unwrap();
    let token = token(&gateway);
    // What is open is written on, also where it could not be opened again.
    mode(&file, 0o000);
    mode(&folder, 0o500);
    for _ in 0..5 {
        assert_eq!(call(&gateway, &token), 200);
    }
    let (status, problem) = gateway.api("POST", "/api/v1/audit/reopen", Some(&json!({})));
    assert_eq!(status, 204, "it is the same file: {problem}");
    assert_eq!(call(&gateway, &token), 200);
    gateway.signal(Signal::TERM);
    assert!(
        gateway
            .wait_exit(Duration::from_secs(20))
            .unwrap()
            .success()
    );
    drop(gateway);
    let before = lines(&file);
    assert!(count(&before, "proxy_request") >= 6, "{before:?}");
    assert_eq!(count(&before, "audit.gap"), 0);
    let refused = start().err().expect("no start without the log");
    assert_eq!(refused.code, Some(3), "{}", refused.stderr);
    assert!(refused.stderr.contains("65534"), "{}", refused.stderr);
    mode(&file, 0o600);
    mode(&folder, 0o700);
    let gateway = start().unwrap();
    assert_eq!(call(&gateway, &token), 200);
    assert_eq!(
        crate::audit_kept::faults(&fs::read_to_string(&file).unwrap()),
        []
    );
}

// AUD-40 AUD-41
#[test]
fn what_is_lost_while_the_log_is_away_is_counted_to_the_last_event() {
    let Some(home) = Home::new() else { return };
    let origin = Origin::start(answer);
    let folder = home.make("log");
    let file = folder.join("audit.log");
    let start = || {
        let builder = home.gateway(&origin, &file);
        let builder = builder.set("audit.access_on_failure", "open");
        builder.set("audit.queue", "64").start()
    };
    let gateway = start();
    let token = token(&gateway);
    eventually("the log is there", || {
        (call(&gateway, &token) == 200 && ready(&gateway) == 200).then_some(())
    });
    // What came before is on disk.
    let before = origin.count();
    eventually("each call before is recorded", || {
        (count(&lines(&file), "proxy_request") == before as u64).then_some(())
    });
    // And not only handed to the kernel: what is not synced yet would be written again.
    self::token(&gateway);
    fs::remove_dir_all(&folder).unwrap();
    eventually("the log is away", || {
        assert_eq!(call(&gateway, &token), 200);
        (ready(&gateway) == 503).then_some(())
    });
    for _ in 0..200 {
        assert_eq!(call(&gateway, &token), 200, "calls are served all the same");
    }
    // Each call has one event.
    let events = (origin.count() - before) as u64;
    home.make("log");
    eventually("it heals", || (ready(&gateway) == 200).then_some(()));
    let (mut written, mut lost) = (0, 0);
    let exact = wait_until(PATIENCE, || {
        let all = lines(&file);
        written = count(&all, "proxy_request");
        let told = all.iter().filter(|line| line["action"] == "audit.gap");
        lost = told
            .map(|line| line["details"]["count"].as_u64().unwrap())
            .sum();
        (lost > 0 && written + lost == events).then_some(())
    });
    assert!(
        exact.is_some(),
        "{written} written, {lost} lost, of {events}"
    );
}

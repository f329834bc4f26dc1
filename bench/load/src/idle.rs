//! Idle connections: each makes one call, stays open, and the gateway's memory is read.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use crate::args::Args;
use crate::client::Connection;
use crate::meter::Use;

/// How many connections are being opened at a time.
const OPENING: usize = 32;

/// Time for the gateway to give back what it gives back.
const SETTLE: Duration = Duration::from_secs(2);

/// One in so many is asked again at the end, to prove that they were alive.
const ASKED_AGAIN: usize = 100;

#[derive(Default)]
struct Opened {
    wanted: usize,
    alive: Vec<Connection>,
    bad: usize,
    first_bad: String,
}

pub(crate) async fn run(args: Rc<Args>) -> anyhow::Result<String> {
    let request = Rc::new(args.request());
    let before = Use::of(&args.pids);
    let opened = Rc::new(RefCell::new(Opened {
        wanted: args.connections,
        ..Opened::default()
    }));
    let mut openers = tokio::task::JoinSet::new();
    for _ in 0..OPENING {
        let (args, request, opened) = (Rc::clone(&args), Rc::clone(&request), Rc::clone(&opened));
        openers.spawn_local(async move { open_some(&args.host, &request, &opened).await });
    }
    while openers.join_next().await.is_some() {}
    tokio::time::sleep(SETTLE).await;
    let after = Use::of(&args.pids);
    let mut connections = std::mem::take(&mut opened.borrow_mut().alive);
    let count = connections.len();
    for connection in connections.iter_mut().step_by(ASKED_AGAIN) {
        note(&opened, ask(connection, &request).await);
    }
    let kib = (after.rss_kib as f64 - before.rss_kib as f64) / count.max(1) as f64;
    let opened = opened.borrow();
    Ok(format!(
        "{{\"name\":\"{}\",\"mode\":\"conns\",\"conns\":{count},\"bad\":{},\"kib_per_conn\":{kib:.2},{},\"first_bad\":\"{}\"}}",
        args.name,
        opened.bad,
        after.memory_json(),
        opened.first_bad.replace(['"', '\\'], ""),
    ))
}

async fn open_some(host: &str, request: &[u8], opened: &RefCell<Opened>) {
    loop {
        {
            let mut opened = opened.borrow_mut();
            let Some(left) = opened.wanted.checked_sub(1) else {
                return;
            };
            opened.wanted = left;
        }
        match Connection::open(host).await {
            Ok(mut connection) => {
                let answer = ask(&mut connection, request).await;
                if note(opened, answer) {
                    connection.rest();
                    opened.borrow_mut().alive.push(connection);
                }
            }
            Err(error) => {
                note(opened, Err(error));
            }
        }
    }
}

async fn ask(connection: &mut Connection, request: &[u8]) -> std::io::Result<u16> {
    let head = connection.send(request).await?;
    let reusable = connection.body(&head, |_| ()).await?;
    if reusable {
        Ok(head.status)
    } else {
        Err(std::io::Error::other("closed after an answer"))
    }
}

/// Counts a bad answer. Answers whether it was a good one.
fn note(opened: &RefCell<Opened>, answer: std::io::Result<u16>) -> bool {
    let problem = match answer {
        Ok(200) => return true,
        Ok(status) => format!("status {status}"),
        Err(error) => error.to_string(),
    };
    let mut opened = opened.borrow_mut();
    opened.bad += 1;
    if opened.first_bad.is_empty() {
        opened.first_bad = problem;
    }
    false
}

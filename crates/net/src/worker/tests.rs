//! Workers on real sockets, with services that do what no service should.

use super::*;
use crate::h1_serve::Fill;
use crate::listen::bind_shared;
use std::cell::Cell;
use std::io::{Read, Write};
use std::net::TcpStream as Caller;
use std::sync::atomic::{AtomicBool, Ordering};
use tollkeep_types::{MonoNanos, WallMillis};

/// How long a caller waits for what must come soon.
const PATIENCE: Duration = Duration::from_secs(20);

struct Frozen;

impl Clock for Frozen {
    fn mono(&self) -> MonoNanos {
        MonoNanos(1)
    }

    fn wall(&self) -> WallMillis {
        WallMillis(1)
    }
}

type Make = Arc<dyn Fn(WorkerParts) -> Service + Send + Sync>;

/// Starts workers; where they listen, and their drain state.
fn start(make: &Make, count: usize) -> (Running, SocketAddr, Arc<Drain>) {
    let (workers, addrs, drain) = start_with_doors(make, count, 1);
    (workers, addrs[0], drain)
}

/// The same with several addresses.
fn start_with_doors(
    make: &Make,
    count: usize,
    doors: usize,
) -> (Running, Vec<SocketAddr>, Arc<Drain>) {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let doors: Vec<_> = (0..doors)
        .map(|_| Door {
            sockets: bind_shared(any, 16, count).unwrap(),
            tls: None,
        })
        .collect();
    let addr_of = |door: &Door| door.sockets[0].local_addr().unwrap();
    let addrs = doors.iter().map(addr_of).collect();
    let drain = Arc::new(Drain::default());
    let workers = Workers {
        count,
        doors,
        clock: Arc::new(Frozen),
        drain: Arc::clone(&drain),
        connections_max: Arc::new(8.into()),
        descriptors: Descriptors::new(1_024, 0),
    };
    (workers.start(make).unwrap(), addrs, drain)
}

#[expect(clippy::disallowed_methods, reason = "a caller's own socket")]
fn connect(addr: SocketAddr) -> Caller {
    let caller = Caller::connect(addr).unwrap();
    caller.set_read_timeout(Some(PATIENCE)).unwrap();
    caller
}

/// One byte there, one back.
fn echoed(mut caller: &Caller, byte: u8) -> u8 {
    let mut back = [0];
    caller.write_all(&[byte]).unwrap();
    caller.read_exact(&mut back).unwrap();
    back[0]
}

/// What is left to read until the end of the connection, clean or not.
fn rest(mut caller: &Caller) -> Vec<u8> {
    let mut rest = Vec::new();
    match caller.read_to_end(&mut rest) {
        Ok(_) => rest,
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => rest,
        Err(error) => panic!("the connection neither ended nor broke: {error}"),
    }
}

/// Waits until `count` connections are live.
fn wait_for_live(drain: &Drain, count: usize) {
    let tries = PATIENCE.as_millis() / 2;
    let seen = (0..tries).any(|_| {
        std::thread::sleep(Duration::from_millis(2));
        drain.live() == count
    });
    assert!(seen, "{} live, not {count}", drain.live());
}

/// Sends bytes back; panics at a `!`.
async fn echo_or_panic(mut conn: Downstream) {
    while conn.idle(PATIENCE).await == Fill::Bytes {
        let bytes = conn.unread().to_vec();
        assert!(!bytes.contains(&b'!'), "a stranger said {bytes:?}");
        conn.consume(bytes.len());
        conn.write(&bytes, PATIENCE).await.unwrap();
    }
}

#[test]
fn workers_that_have_hardly_begun_end_when_they_are_told() {
    let make: Make = Arc::new(|_| Service {
        admits: Box::new(|_| true),
        serve: Rc::new(|_| Box::pin(async {})),
        tick: Box::new(|| {}),
    });
    for _ in 0..50 {
        start(&make, 3).0.stop();
    }
}

#[test]
fn a_connection_that_panics_ends_alone_and_is_counted_out() {
    // One worker, so that whoever is served after the panic is served by the thread that had it.
    let slots_free = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&slots_free);
    let make: Make = Arc::new(move |parts| {
        let (deadlines, told) = (Rc::clone(&parts.deadlines), Arc::clone(&told));
        Service {
            admits: Box::new(|_| true),
            serve: Rc::new(|conn| Box::pin(echo_or_panic(conn))),
            tick: Box::new(move || told.store(deadlines.live() == 0, Ordering::SeqCst)),
        }
    });
    let (workers, addr, drain) = start(&make, 1);
    let bystander = connect(addr);
    assert_eq!(echoed(&bystander, b'a'), b'a');
    for round in 0..20 {
        let (doomed, beside) = (connect(addr), connect(addr));
        assert_eq!(echoed(&doomed, b'b'), b'b', "round {round}");
        assert_eq!(echoed(&beside, b'c'), b'c', "round {round}");
        (&doomed).write_all(b"!").unwrap();
        assert_eq!(rest(&doomed), b"", "round {round}");
        assert_eq!(echoed(&beside, b'd'), b'd', "round {round}");
        assert_eq!(echoed(&bystander, b'e'), b'e', "round {round}");
        // More rounds than connections there may be: none that panicked is counted for ever.
        drop(beside);
        wait_for_live(&drain, 1);
    }
    drop(bystander);
    wait_for_live(&drain, 0);
    let free = (0..PATIENCE.as_millis() / 2).any(|_| {
        std::thread::sleep(Duration::from_millis(2));
        slots_free.load(Ordering::SeqCst)
    });
    assert!(free, "deadline slots of connections that are gone");
    workers.stop();
}

#[test]
fn a_service_that_panics_before_it_serves_loses_that_connection_only() {
    let make: Make = Arc::new(|_| {
        let first = Cell::new(true);
        Service {
            admits: Box::new(|_| true),
            serve: Rc::new(move |conn| {
                assert!(!first.replace(false), "not the first one");
                Box::pin(echo_or_panic(conn))
            }),
            tick: Box::new(|| {}),
        }
    });
    let (workers, addr, drain) = start(&make, 1);
    assert_eq!(rest(&connect(addr)), b"");
    let second = connect(addr);
    assert_eq!(echoed(&second, b'a'), b'a');
    wait_for_live(&drain, 1);
    workers.stop();
}

#[test]
fn every_door_is_served_by_every_worker_and_told_apart() {
    // Says by which door it came in, as its number.
    let make: Make = Arc::new(|_| Service {
        admits: Box::new(|_| true),
        serve: Rc::new(|mut conn| {
            Box::pin(async move {
                let door = u8::try_from(conn.door()).unwrap();
                while conn.idle(PATIENCE).await == Fill::Bytes {
                    conn.consume(1);
                    conn.write(&[b'0' + door], PATIENCE).await.unwrap();
                }
            })
        }),
        tick: Box::new(|| {}),
    });
    let (workers, addrs, drain) = start_with_doors(&make, 2, 3);
    for _ in 0..10 {
        // Open side by side, so that some are handed to the other worker.
        let callers: Vec<_> = addrs.iter().map(|addr| connect(*addr)).collect();
        for (door, caller) in (b'0'..).zip(&callers) {
            assert_eq!(echoed(caller, b'?'), door);
        }
        drop(callers);
        wait_for_live(&drain, 0);
    }
    workers.stop();
}

//! Answers on their way out, as far as windows and room go.

use super::*;

// EDGE-52
#[test]
fn answers_stop_at_either_window_and_at_what_waits_to_be_sent() {
    let mut conn = conn();
    let shut = frame(Kind::Settings, 0, 0, &[0, 4, 0, 0, 0, 3]);
    heard(
        &mut conn,
        &[post(1, END_STREAM, &[]), shut, post(3, END_STREAM, &[])].concat(),
    )
    .unwrap();
    conn.answer(1, 200, b"", StreamEnd::Open);
    conn.answer(3, 200, b"", StreamEnd::Open);
    for stream in [1, 3] {
        assert_eq!(conn.write(stream, b"hello"), Write::Taken(3));
        assert_eq!(conn.write(stream, b"lo"), Write::Wait);
    }
    assert!(!conn.has_room_again());
    let wider = frame(Kind::WindowUpdate, 0, 3, &number(1_000_000));
    assert_eq!(heard(&mut conn, &wider), Ok(vec![Told::Changed(3)]));
    let mut went = 6 + fill(&mut conn, 3);
    assert!(
        (32_768..32_768 + FRAME_BYTES_MAX).contains(&went),
        "{went} wait to be sent"
    );
    assert!(!conn.has_room_again());
    while !sent(&mut conn).is_empty() && conn.has_room_again() {
        assert!(conn.unblocked().count() > 0);
        went += fill(&mut conn, 3);
    }
    assert_eq!(went, 65_535, "the connection's window");
    let wider = frame(Kind::WindowUpdate, 0, 0, &number(1_000_000));
    assert_eq!(heard(&mut conn, &wider), Ok(vec![Told::Windows]));
    assert!(fill(&mut conn, 3) > 0);
    sent(&mut conn);
    assert_eq!(conn.write(1, b"lo"), Write::Wait);
    let open = frame(Kind::Settings, 0, 0, &[0, 4, 0, 0, 0, 5]);
    assert_eq!(heard(&mut conn, &open), Ok(vec![Told::Windows]));
    assert_eq!(conn.write(1, b"lo"), Write::Taken(2));
}

/// Writes until that has to wait: how many bytes went.
fn fill<T>(conn: &mut Connection<T>, stream: u32) -> usize {
    let mut went = 0;
    while let Write::Taken(count) = conn.write(stream, &[b'x'; 40_000]) {
        assert!(count <= FRAME_BYTES_MAX);
        went += count;
    }
    went
}

/// A connection with answers begun on these streams, and windows as wide as they can be.
fn answering(streams: &[u32]) -> Connection<u32> {
    let mut conn = begun();
    let wide = (1_u32 << 31) - 1;
    let settings = [&[0, 4][..], &number(wide)].concat();
    heard(&mut conn, &frame(Kind::Settings, 0, 0, &settings)).unwrap();
    let window = frame(Kind::WindowUpdate, 0, 0, &number(wide - 65_535));
    heard(&mut conn, &window).unwrap();
    for id in streams {
        heard(&mut conn, &post(*id, END_STREAM, &[])).unwrap();
        conn.answer(*id, 200, b"", StreamEnd::Open);
        *conn.tag(*id).unwrap() = *id;
    }
    sent(&mut conn);
    conn
}

// EDGE-42 EDGE-52
#[test]
fn a_reader_that_is_always_behind_makes_nothing_stay_and_is_no_flood() {
    let mut conn = answering(&[1]);
    let ping = frame(Kind::Ping, 0, 0, &[0; 8]).repeat(5);
    for round in 0..2_000 {
        let now = MonoNanos(round * 1_000_000_000);
        let mut rest = &ping[..];
        while let Some((used, _)) = conn.receive(rest, now).unwrap() {
            rest = &rest[used..];
        }
        fill(&mut conn, 1);
        let most = conn.to_send().len() - 1;
        conn.was_sent(most);
        assert!(conn.out.capacity() < 256 * 1024, "round {round}");
    }
    // What it leaves unread for good is counted all the same.
    let refused = (2_000..4_000).find_map(|round| {
        let now = MonoNanos(round * 1_000_000_000);
        let mut rest = &ping[..];
        loop {
            match conn.receive(rest, now) {
                Ok(Some((used, _))) => rest = &rest[used..],
                Ok(None) => return None,
                Err(ended) => return Some(ended),
            }
        }
    });
    assert_eq!(refused, Some(Ended::Breach(Breach::Unread)));
    assert!(conn.to_send().len() < CONTROL_BYTES_MAX + 1_000);
}

// EDGE-52
#[test]
fn streams_that_wait_for_room_have_their_turns() {
    let streams = [1, 3, 5];
    let mut conn = answering(&streams);
    let mut went = [0; 3];
    let mut turn: Vec<u32> = streams.to_vec();
    for _ in 0..30 {
        for id in &turn {
            went[*id as usize / 2] += fill(&mut conn, *id);
        }
        sent(&mut conn);
        assert!(conn.has_room_again());
        turn = conn.unblocked().map(|id| *id).collect();
        assert_eq!(turn.len(), 3);
    }
    assert!(went[0] > 0 && went == [went[0]; 3], "{went:?}");
}

// EDGE-53
#[test]
fn a_stream_knows_that_others_go_on_while_its_own_window_is_open() {
    let mut conn = answering(&[1, 3]);
    let before = conn.pieces_before(1);
    assert_eq!(conn.pieces_before(1), before);
    assert_eq!(conn.write(3, b"x"), Write::Taken(1));
    assert!(before.is_some() && conn.pieces_before(1) != before);
    let shut = frame(Kind::Settings, 0, 0, &[0, 4, 0, 0, 0, 0]);
    heard(&mut conn, &shut).unwrap();
    assert_eq!(conn.pieces_before(1), None);
}

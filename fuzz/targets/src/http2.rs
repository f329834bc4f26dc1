//! What of a caller's HTTP/2 connection is read before the library reads it.

use crate::cuts::growing;
use tollkeep_policy::http2::{Breach, Budget, Frame, Frames, Opening};
use tollkeep_types::MonoNanos;

/// The bytes are what follows a client's preface.
///
/// Laws: the same frames and the same verdict however it arrives; every byte is passed over once;
/// what a frame carries is never taken for a frame.
pub fn http2(data: &[u8]) {
    let whole = read_in(data, &[data.len()]);
    assert_eq!(whole, read_in(data, &growing(data)), "cut into pieces");
    let carried: usize = whole.0.iter().map(|frame| 9 + frame.length as usize).sum();
    let last = whole.0.last().map_or(0, |frame| frame.length as usize);
    assert!(
        carried.saturating_sub(last) <= data.len(),
        "more frames than bytes"
    );
    let opening = Opening::of(data);
    assert!(opening != Opening::Http2 || data.len() >= tollkeep_policy::http2::PREFACE.len());
}

/// The frames of data that arrives in pieces which end at these places, and the first breach.
fn read_in(data: &[u8], ends: &[usize]) -> (Vec<Frame>, Option<Breach>) {
    let (mut frames, mut budget) = (Frames::of_server(), Budget::default());
    let (mut found, mut breach, mut at) = (Vec::new(), None, 0);
    for end in ends {
        let mut piece = data.get(at..*end).unwrap_or_default();
        at = *end;
        while !piece.is_empty() {
            let (used, frame) = frames.next(piece);
            assert!(used > 0 && used <= piece.len(), "every byte once");
            piece = piece.get(used..).unwrap_or_default();
            if let Some(frame) = frame {
                found.push(frame);
                breach = breach.or(budget.received(frame, MonoNanos(1)).err());
            }
        }
    }
    (found, breach)
}

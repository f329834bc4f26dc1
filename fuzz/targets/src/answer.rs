//! An upstream's answer: head, body, and the head we would relay of it.

use crate::admission::dechunk;
use crate::cuts::{growing, pieces};
use tollkeep_http1::{Answer, AnswerFault, AnswerFraming, Known, Progress, write};
use tollkeep_policy::headers;

/// The bytes are what an upstream sends.
///
/// Laws: the same verdict however it arrives, for HEAD and for others; what we would relay of the
/// head is again one strict head.
pub fn answer(data: &[u8]) {
    for head_request in [false, true] {
        let whole = read_in(data, head_request, &[data.len()]);
        assert_eq!(
            whole,
            read_in(data, head_request, &growing(data)),
            "cut into pieces"
        );
    }
    let mut answer = Answer::new();
    if answer.read(data, false) != Ok(Progress::Done) {
        return;
    }
    assert!(
        answer.len <= data.len() && (100..600).contains(&answer.status) && answer.status != 101
    );
    if answer.framing == AnswerFraming::Chunked {
        let rest = data.get(answer.len..).unwrap_or_default();
        assert_eq!(
            dechunk(&[rest]),
            dechunk(&pieces(rest)),
            "chunks cut into pieces"
        );
    }
    let mut out = Vec::new();
    write::status_line(&mut out, answer.status);
    let mut relayed = 0;
    for field in answer.fields.iter().filter(|field| !field.hop) {
        let (name, value) = (field.name.of(data), field.value.of(data));
        if field.known != Known::ContentLength && !headers::response_field_forbidden(name) {
            write::field(&mut out, name, value);
            relayed += 1;
        }
    }
    write::end(&mut out);
    let mut again = Answer::new();
    let read = again.read(&out, false);
    // A blank more in every line may be too much for a head that was nearly too large.
    if read != Err(AnswerFault::TooLarge) {
        assert_eq!(read, Ok(Progress::Done), "{}", out.escape_ascii());
        assert_eq!(
            (again.status, again.fields.len(), again.len),
            (answer.status, relayed, out.len())
        );
    }
}

fn read_in(
    data: &[u8],
    head_request: bool,
    lengths: &[usize],
) -> Option<Result<String, AnswerFault>> {
    let mut answer = Answer::new();
    for len in lengths {
        match answer.read(data.get(..*len).unwrap_or_default(), head_request) {
            Ok(Progress::More) => {}
            Ok(Progress::Done) => return Some(Ok(format!("{answer:?}"))),
            Err(fault) => return Some(Err(fault)),
        }
    }
    None
}

//! Inputs out of seeds: small changes, repeated, and two seeds grafted together.

/// Longest input.
const BYTES_MAX: usize = 16 * 1024;

/// What grammars turn on, for all targets alike.
const WORDS: &[&str] = &[
    "\r\n",
    "\n",
    "\r",
    "\r\n\r\n",
    "\n\n",
    "\t",
    " ",
    ":",
    ": ",
    ";",
    ",",
    "\"",
    "\\",
    "\0",
    "%2F",
    "%2e",
    "%00",
    "%",
    "..",
    "/./",
    "//",
    "/",
    "?",
    "#",
    "@",
    "_",
    "*",
    "{",
    "}",
    "[",
    "]",
    "null",
    "true",
    "1e400",
    "-0",
    "18446744073709551616",
    "0x10",
    "+1",
    "GET ",
    "POST ",
    " HTTP/1.1\r\n",
    " HTTP/1.0\r\n",
    "HTTP/1.1 200 OK\r\n",
    "Host: gw.test\r\n",
    "Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: close, X-A\r\n",
    "Expect: 100-continue\r\n",
    "Upgrade: websocket\r\n",
    "X_A: 1\r\n",
    "X-Forwarded-For: 1.2.3.4, 10.0.0.1\r\n",
    "Forwarded: for=\"[::1]:80\"\r\n",
    "5\r\nhello\r\n",
    "0\r\n\r\n",
    "0\r\nX: y\r\n\r\n",
    "https://",
    "http://",
    "wss://",
    "[::1]",
    "127.0.0.1",
    "169.254.169.254",
    "::ffff:10.0.0.1",
    "0177.1",
    "xn--",
    ":443",
    ":0",
    "localhost",
    "data: ",
    "data:",
    "event: error\n",
    "[DONE]",
    "\"usage\":",
    "\"model\":",
    "\"type\":\"message_delta\"",
    "\\u0000",
    "\\ud800",
    "version: 1\n",
    "- ",
    "&a ",
    "*a",
    "<<: ",
    "!!binary ",
    "${OPENAI_API_KEY}",
    "${file:/nowhere}",
    "$${",
    "tok-",
    "Bearer ",
    "sk-ant-",
    "\u{feff}",
    "\u{1f600}",
    "é",
];

/// Random numbers that are the same for the same start (xorshift64*).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(start: u64) -> Self {
        Self(start.max(1))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`; 0 if there is none.
    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap() % end.max(1)
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// A seed with one to eight changes.
pub(crate) fn mutate(dice: &mut Dice, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut input = dice.of(seeds).clone();
    for _ in 0..=dice.below(8) {
        change(dice, seeds, &mut input);
    }
    input.truncate(BYTES_MAX);
    input
}

fn change(dice: &mut Dice, seeds: &[Vec<u8>], input: &mut Vec<u8>) {
    let at = dice.below(input.len() + 1);
    let end = (at + 1 + dice.below(32)).min(input.len());
    match dice.below(9) {
        0 if at < input.len() => input[at] ^= 1 << dice.below(8),
        1 if at < input.len() => input[at] = u8::try_from(dice.below(256)).unwrap(),
        2 => drop(input.drain(at.min(end)..end)),
        3 => insert(input, at, dice.of(WORDS).as_bytes()),
        4 => {
            let word = dice.of(WORDS).as_bytes();
            let end = (at + word.len()).min(input.len());
            drop(input.splice(at..end, word.iter().copied()));
        }
        5 => {
            let copy = input[at.min(end)..end].to_vec();
            let times = 1 + dice.below(40);
            insert(input, at, &copy.repeat(times));
        }
        6 => {
            let copy = input[at.min(end)..end].to_vec();
            let to = dice.below(input.len() + 1);
            insert(input, to, &copy);
        }
        7 => {
            let other = dice.of(seeds);
            let from = dice.below(other.len() + 1);
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        _ => input.truncate(at),
    }
}

fn insert(input: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if input.len() + bytes.len() <= BYTES_MAX {
        drop(input.splice(at..at, bytes.iter().copied()));
    }
}

//! What a client's frames do (RFC 9113, sections 5 and 6).

use crate::connection::{
    Block, Connection, Ended, LEAVING_PING, Leaving, STREAMS_KEPT_MAX, STREAMS_MAX, Told,
    WINDOW_MAX,
};
use crate::frame::{
    self, ACK, END_STREAM, FRAME_BYTES_MAX, Frame, HEAD_BYTES, Kind, PRIORITY, Reason,
};
use crate::opening::PREFACE;
use crate::stream::{DataTaken, ResetBy, Stream};
use tollkeep_types::MonoNanos;

/// Settings in one frame; each may change all streams.
const SETTINGS_MAX: usize = 32;

/// The connection can't go on.
#[derive(Clone, Copy, Debug)]
struct Fault(Reason);

type Heard = Result<Told, Fault>;

const BROKEN: Fault = Fault(Reason::ProtocolError);

impl<T: Default> Connection<T> {
    /// HOT. Reads the first whole frame of `bytes`: how many bytes that took, and what it has
    /// changed. Nothing while there is none. Call it again with what is left.
    ///
    /// # Errors
    /// Nothing more is to be read. What is to be sent tells the client its fault; that it overdid
    /// it is told by [`Connection::part`].
    pub fn receive(
        &mut self,
        bytes: &[u8],
        now: MonoNanos,
    ) -> Result<Option<(usize, Told)>, Ended> {
        self.now = now;
        if let Some(breach) = self.breach.take() {
            return Err(Ended::Breach(breach));
        }
        let heard = if self.preface_left > 0 {
            self.preface(bytes)
        } else {
            self.next(bytes)
        };
        match heard {
            Ok(Some(heard)) => Ok(Some(heard)),
            Ok(None) => {
                self.watch_fields(bytes);
                Ok(None)
            }
            Err(Ended::Fault(reason)) => {
                self.part(reason);
                Err(Ended::Fault(reason))
            }
            Err(breach @ Ended::Breach(_)) => Err(breach),
        }
    }

    fn preface(&mut self, bytes: &[u8]) -> Result<Option<(usize, Told)>, Ended> {
        let missing = PREFACE.get(PREFACE.len() - self.preface_left..);
        let used = self.preface_left.min(bytes.len());
        if bytes.get(..used) != missing.and_then(|missing| missing.get(..used)) {
            return Err(Ended::Fault(Reason::ProtocolError));
        }
        self.preface_left -= used;
        Ok((used > 0).then_some((used, Told::Nothing)))
    }

    fn next(&mut self, bytes: &[u8]) -> Result<Option<(usize, Told)>, Ended> {
        let Some(head) = bytes.first_chunk::<HEAD_BYTES>() else {
            return Ok(None);
        };
        let mut frame = Frame::of(*head);
        let length = frame.length as usize;
        if length > FRAME_BYTES_MAX {
            return Err(Ended::Fault(Reason::FrameSizeError));
        }
        let Some(payload) = bytes.get(HEAD_BYTES..HEAD_BYTES + length) else {
            return Ok(None);
        };
        if frame.kind == Kind::WindowUpdate
            && let Some(increment) = payload.first_chunk::<4>()
        {
            frame.increment = u32::from_be_bytes(*increment) & 0x7fff_ffff;
        }
        let counted = self.budget.received(frame, self.now);
        counted.map_err(Ended::Breach)?;
        let told = self
            .frame(frame, payload)
            .map_err(|Fault(reason)| Ended::Fault(reason))?;
        Ok(Some((HEAD_BYTES + length, told)))
    }

    /// Notes since when fields are on their way, as nothing else is due.
    fn watch_fields(&mut self, rest: &[u8]) {
        let begun = match rest.first_chunk::<4>() {
            Some([.., code]) => *code == Kind::Headers as u8 || *code == Kind::Continuation as u8,
            None => false,
        };
        self.fields_since = if begun || self.block.is_some() || !self.settings_came {
            self.fields_since.or(Some(self.now))
        } else {
            None
        };
    }

    fn frame(&mut self, frame: Frame, payload: &[u8]) -> Heard {
        let within = self.block.as_ref().map(|block| block.stream);
        if within.is_some_and(|stream| frame.kind != Kind::Continuation || frame.stream != stream) {
            return Err(BROKEN);
        }
        if !self.settings_came && (frame.kind != Kind::Settings || frame.has(ACK)) {
            return Err(BROKEN);
        }
        match frame.kind {
            Kind::Data => self.data(frame, payload),
            Kind::Headers => self.headers(frame, payload),
            Kind::Priority => self.priority(frame, payload),
            Kind::ResetStream => self.reset_came(frame, payload),
            Kind::Settings => self.settings(frame, payload),
            Kind::Ping => self.ping(frame, payload),
            Kind::GoAway if frame.stream != 0 => Err(BROKEN),
            Kind::GoAway if payload.len() < 8 => Err(Fault(Reason::FrameSizeError)),
            Kind::WindowUpdate => self.window(frame, payload),
            Kind::Continuation => self.continuation(frame, payload),
            Kind::PushPromise => Err(BROKEN),
            // Streams of a client that leaves go on.
            Kind::GoAway | Kind::Unknown => Ok(Told::Nothing),
        }
    }

    /// Whether a stream was never opened.
    fn is_idle(&self, id: u32) -> bool {
        id > self.newest || id.is_multiple_of(2)
    }

    fn data(&mut self, frame: Frame, payload: &[u8]) -> Heard {
        let id = frame.stream;
        let data = frame::unpadded(frame, payload).ok_or(BROKEN)?;
        if self.is_idle(id) {
            return Err(BROKEN);
        }
        self.receive_window -= i64::from(frame.length);
        if self.receive_window < 0 {
            return Err(Fault(Reason::FlowControlError));
        }
        let (ends, padding) = (frame.has(END_STREAM), payload.len() - data.len());
        if data.is_empty() && padding > 0 && !ends {
            self.count_nothing();
        }
        let Some(stream) = self.stream(id) else {
            if !self.was_reset(id) {
                return Err(Fault(Reason::StreamClosed));
            }
            self.give_credit_of_connection(payload.len());
            return Ok(Told::Nothing);
        };
        let fault = match stream.reset {
            Some(ResetBy::Client) => return Err(Fault(Reason::StreamClosed)),
            Some(ResetBy::Mistake | ResetBy::Owner) => None,
            None if stream.ended => Some(Reason::StreamClosed),
            None => match stream.take_data(data, padding, ends) {
                DataTaken::Taken => {
                    let told = stream.credit(padding);
                    if told > 0 {
                        self.write_control(|out| frame::write_window(out, id, told));
                    }
                    self.give_credit_of_connection(padding);
                    return Ok(Told::Changed(id));
                }
                DataTaken::TooMuch => Some(Reason::FlowControlError),
                DataTaken::NotAsAnnounced => Some(Reason::ProtocolError),
            },
        };
        stream.ended |= ends;
        self.give_credit_of_connection(payload.len());
        if let Some(reason) = fault {
            self.spoil(id, reason);
        }
        Ok(Told::Changed(id))
    }

    /// A frame carried nothing for anybody.
    fn count_nothing(&mut self) {
        let counted = self.budget.carried_nothing();
        self.breach = self.breach.or(counted.err());
    }

    /// Ends a stream for a mistake of the client; it may have left already.
    fn spoil(&mut self, id: u32, reason: Reason) {
        let Some(stream) = self.stream(id) else {
            self.remember_reset(id);
            return self.write_reset(id, reason);
        };
        if stream.is_open() {
            self.end_by(id, ResetBy::Mistake, reason);
        } else if stream.reset.is_none() {
            stream.reset = Some(ResetBy::Mistake);
            self.write_reset(id, reason);
        }
    }

    fn headers(&mut self, frame: Frame, payload: &[u8]) -> Heard {
        if frame.stream.is_multiple_of(2) {
            return Err(BROKEN);
        }
        let mut bytes = frame::unpadded(frame, payload).ok_or(BROKEN)?;
        let mut depends_on_itself = false;
        if frame.has(PRIORITY) {
            let (priority, rest) = bytes
                .split_first_chunk::<5>()
                .ok_or(Fault(Reason::FrameSizeError))?;
            depends_on_itself = depends_on(priority) == frame.stream;
            bytes = rest;
        }
        let block = Block {
            stream: frame.stream,
            ends_stream: frame.has(END_STREAM),
            depends_on_itself,
            bytes: Vec::new(),
        };
        if frame.ends_fields() {
            return self.fields(&block, bytes);
        }
        self.fields_since = Some(self.now);
        self.block = Some(Block {
            bytes: bytes.to_vec(),
            ..block
        });
        Ok(Told::Nothing)
    }

    fn continuation(&mut self, frame: Frame, payload: &[u8]) -> Heard {
        let mut block = self.block.take().ok_or(BROKEN)?;
        block.bytes.extend_from_slice(payload);
        if frame.ends_fields() {
            let bytes = std::mem::take(&mut block.bytes);
            return self.fields(&block, &bytes);
        }
        self.block = Some(block);
        Ok(Told::Nothing)
    }

    /// HOT. A whole block of fields.
    fn fields(&mut self, block: &Block, bytes: &[u8]) -> Heard {
        let id = block.stream;
        self.fields_since = None;
        self.fields.begin(self.fields_bytes_max);
        let is_new = id > self.newest;
        let fields = &mut self.fields;
        let decoded = self.decoder.decode(bytes, |name, value| {
            if is_new {
                fields.request(name, value);
            } else {
                fields.trailer(name, value);
            }
            !fields.is_bomb()
        });
        self.decoder.rest();
        decoded.map_err(|_| Fault(Reason::CompressionError))?;
        if self.fields.is_bomb() {
            return Err(Fault(Reason::EnhanceYourCalm));
        }
        let heard = if is_new {
            Ok(self.request(block))
        } else {
            self.trailers(block)
        };
        self.fields.rest();
        heard
    }

    fn request(&mut self, block: &Block) -> Told {
        let (id, ended) = (block.stream, block.ends_stream);
        if id > self.newest + 2 {
            self.passed_over = (self.newest, id);
        }
        self.newest = id;
        if let Leaving::After(_) = self.leaving {
            // The client is told that it was not looked at.
            if !ended {
                self.remember_reset(id);
            }
            self.count_nothing();
            return Told::Nothing;
        }
        let open = self
            .streams
            .iter()
            .filter(|stream| stream.is_open())
            .count();
        if open >= STREAMS_MAX || self.streams.len() >= STREAMS_KEPT_MAX {
            self.refuse(id, ended, Reason::RefusedStream);
            return Told::Nothing;
        }
        let head = self.fields.head(ended);
        let Some(head) = head.ok().filter(|_| !block.depends_on_itself) else {
            self.refuse(id, ended, Reason::ProtocolError);
            return Told::Malformed;
        };
        let stream = Stream::new(id, head, ended, self.first_send_window, T::default());
        self.streams.push(stream);
        Told::Request(id)
    }

    fn refuse(&mut self, id: u32, ended: bool, reason: Reason) {
        if !ended {
            self.remember_reset(id);
        }
        self.write_reset(id, reason);
    }

    /// Fields behind a body.
    fn trailers(&mut self, block: &Block) -> Heard {
        let id = block.stream;
        let malformed = self.fields.trailers().is_err() || block.depends_on_itself;
        let Some(at) = self.streams.iter().position(|stream| stream.id == id) else {
            self.count_nothing();
            let (before, after) = self.passed_over;
            return if id > before && id < after {
                Err(BROKEN)
            } else if self.was_reset(id) {
                Ok(Told::Nothing)
            } else {
                Err(Fault(Reason::StreamClosed))
            };
        };
        let (Some(stream), lines) = (self.streams.get_mut(at), self.fields.trailers()) else {
            return Ok(Told::Nothing);
        };
        let fault = match stream.reset {
            Some(ResetBy::Client) => return Err(Fault(Reason::StreamClosed)),
            Some(ResetBy::Mistake | ResetBy::Owner) => {
                self.count_nothing();
                return Ok(Told::Nothing);
            }
            None if stream.ended => Some(Reason::StreamClosed),
            None if malformed || !block.ends_stream => Some(Reason::ProtocolError),
            None => {
                let taken = stream.take_trailers(lines.unwrap_or_default());
                (!taken).then_some(Reason::ProtocolError)
            }
        };
        if let Some(reason) = fault {
            stream.ended |= block.ends_stream && reason != Reason::StreamClosed;
            self.spoil(id, reason);
        }
        Ok(Told::Changed(id))
    }

    fn priority(&mut self, frame: Frame, payload: &[u8]) -> Heard {
        let id = frame.stream;
        let fault = match payload.as_array::<5>() {
            _ if id == 0 => return Err(BROKEN),
            None => Reason::FrameSizeError,
            Some(priority) if depends_on(priority) == id => Reason::ProtocolError,
            Some(_) => return Ok(Told::Nothing),
        };
        // A stream that was never opened can't be reset.
        if self.stream(id).is_none() {
            return Err(Fault(fault));
        }
        self.spoil(id, fault);
        Ok(Told::Changed(id))
    }

    fn reset_came(&mut self, frame: Frame, payload: &[u8]) -> Heard {
        let id = frame.stream;
        if self.is_idle(id) {
            return Err(BROKEN);
        }
        if payload.len() != 4 {
            return Err(Fault(Reason::FrameSizeError));
        }
        let Some(stream) = self.stream(id) else {
            return Ok(Told::Nothing);
        };
        stream.reset = Some(ResetBy::Client);
        let unread = stream.forget_body();
        self.give_credit_of_connection(unread);
        Ok(Told::Changed(id))
    }

    fn settings(&mut self, frame: Frame, payload: &[u8]) -> Heard {
        if frame.stream != 0 {
            return Err(BROKEN);
        }
        let (settings, rest) = payload.as_chunks::<6>();
        if !rest.is_empty() || (frame.has(ACK) && !settings.is_empty()) {
            return Err(Fault(Reason::FrameSizeError));
        }
        if settings.len() > SETTINGS_MAX {
            return Err(Fault(Reason::EnhanceYourCalm));
        }
        if frame.has(ACK) {
            return Ok(Told::Nothing);
        }
        self.settings_came = true;
        for [i0, i1, v0, v1, v2, v3] in settings {
            let value = u32::from_be_bytes([*v0, *v1, *v2, *v3]);
            self.setting(u16::from_be_bytes([*i0, *i1]), value)?;
        }
        self.write_control(|out| frame::write_head(out, Kind::Settings, ACK, 0, 0));
        Ok(Told::Windows)
    }

    fn setting(&mut self, setting: u16, value: u32) -> Result<(), Fault> {
        const FRAME_BYTES_LARGEST: usize = (1 << 24) - 1;
        match setting {
            1 => self.encoder.resize(value as usize),
            2 if value > 1 => return Err(BROKEN),
            4 => {
                let window = i64::from(value);
                if window > WINDOW_MAX {
                    return Err(Fault(Reason::FlowControlError));
                }
                let change = window - self.first_send_window;
                self.first_send_window = window;
                for stream in &mut self.streams {
                    stream.send_window += change;
                    if stream.send_window > WINDOW_MAX {
                        return Err(Fault(Reason::FlowControlError));
                    }
                }
            }
            5 if !(FRAME_BYTES_MAX..=FRAME_BYTES_LARGEST).contains(&(value as usize)) => {
                return Err(BROKEN);
            }
            // What we send is small enough for everybody, and others may be ignored.
            _ => {}
        }
        Ok(())
    }

    fn ping(&mut self, frame: Frame, payload: &[u8]) -> Heard {
        if frame.stream != 0 {
            return Err(BROKEN);
        }
        if payload.len() != 8 {
            return Err(Fault(Reason::FrameSizeError));
        }
        if !frame.has(ACK) {
            self.write_control(|out| {
                frame::write_head(out, Kind::Ping, ACK, 0, payload.len());
                out.extend_from_slice(payload);
            });
        } else if payload == LEAVING_PING {
            self.heard();
        }
        Ok(Told::Nothing)
    }

    fn window(&mut self, frame: Frame, payload: &[u8]) -> Heard {
        let (id, increment) = (frame.stream, i64::from(frame.increment));
        if payload.len() != 4 {
            return Err(Fault(Reason::FrameSizeError));
        }
        if id == 0 {
            self.send_window += increment;
            return match increment {
                0 => Err(BROKEN),
                _ if self.send_window > WINDOW_MAX => Err(Fault(Reason::FlowControlError)),
                _ => Ok(Told::Windows),
            };
        }
        if self.is_idle(id) {
            return Err(BROKEN);
        }
        let Some(stream) = self.stream(id).filter(|stream| stream.reset.is_none()) else {
            return Ok(Told::Nothing);
        };
        stream.send_window += increment;
        let fault = if increment == 0 {
            Reason::ProtocolError
        } else if stream.send_window > WINDOW_MAX {
            Reason::FlowControlError
        } else {
            let waits = std::mem::take(&mut stream.blocked);
            return Ok(if waits {
                Told::Changed(id)
            } else {
                Told::Nothing
            });
        };
        self.spoil(id, fault);
        Ok(Told::Changed(id))
    }
}

/// The stream that a priority names.
fn depends_on(priority: &[u8; 5]) -> u32 {
    let [a, b, c, d, _] = *priority;
    u32::from_be_bytes([a & 0x7f, b, c, d])
}

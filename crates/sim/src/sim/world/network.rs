//! The way to the store and back, and what is lost, late or doubled on it.

use super::super::audit::Violation;
use super::super::faults::Fault;
use super::{Letter, MS, What, World};
use crate::ledger::keeper::CallId;
use crate::ledger::step::Command;
use crate::ledger::write::NoAnswer;

/// How long a replica waits for the store.
const PATIENCE_MS: u64 = 1_500;

impl World {
    /// Puts a command on its way to the store, whatever may happen to it there.
    pub(super) fn post(&mut self, replica: usize, call: CallId, command: Command) {
        let life = self.replicas.get(replica).map_or(0, |replica| replica.life);
        let faults = self.faults;
        let mut letter = Letter {
            replica,
            life,
            call,
            command,
            fails: faults.has(Fault::Write) && self.random.one_in(12),
            answer_lost: false,
        };
        letter.answer_lost = faults.has(Fault::Loss) && self.random.one_in(15);
        let lost = faults.has(Fault::Loss) && self.random.one_in(15);
        if faults.has(Fault::Twice) && self.random.one_in(10) {
            let delay = self.delay();
            let again = letter.clone();
            self.at(self.time + delay, What::Deliver(Box::new(again)));
        }
        let delay = self.delay();
        let never = lost || letter.answer_lost || letter.fails;
        if never || delay > PATIENCE_MS * MS || self.time < self.outage_until {
            let answer = What::Answer(replica, life, call, Err(NoAnswer));
            self.after_ms(PATIENCE_MS, answer);
        }
        if !lost {
            self.at(self.time + delay, What::Deliver(Box::new(letter)));
        }
    }

    fn delay(&mut self) -> u64 {
        let usual = self.random.between(100_000, 3 * MS);
        if !self.faults.has(Fault::Delay) {
            return usual;
        }
        match self.random.below(40) {
            0 => self.random.between(1_000 * MS, 60_000 * MS),
            1..=4 => self.random.between(10 * MS, 1_200 * MS),
            _ => usual,
        }
    }

    pub(super) fn deliver(&mut self, letter: &Letter) -> Result<(), Violation> {
        if self.time < self.outage_until {
            let answer = What::Answer(letter.replica, letter.life, letter.call, Err(NoAnswer));
            self.after_ms(1, answer);
            return Ok(());
        }
        let reply = self.operate_at(&letter.command, letter.fails)?;
        if let Some(reply) = reply.filter(|_| !letter.answer_lost) {
            let delay = self.delay();
            let answer = Ok(Box::new(reply));
            let (replica, life, call) = (letter.replica, letter.life, letter.call);
            self.at(self.time + delay, What::Answer(replica, life, call, answer));
        }
        Ok(())
    }
}

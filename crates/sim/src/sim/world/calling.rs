//! What callers and the makers of their calls do.

use super::super::audit::Violation;
use super::super::call::{Call, Fate};
use super::super::replica::InHand;
use super::{MS, What, World};
use crate::ledger::hold::{NotBilled, take};
use crate::ledger::keeper::{Ask, Event};
use crate::ledger::row::Quality;
use tollkeep_types::{BudgetId, HoldId, MonoNanos};

/// How long calls still name a budget that was ended.
const STALE_MS: u64 = 2_000;
/// How long a hold in the store is there without being renewed: crashes are to meet its end.
const HOLD_TTL_MS: u64 = 120_000;

impl World {
    pub(super) fn arrive(&mut self, mut call: Call) {
        let replica = call.replica;
        let hold = call.hold;
        self.match_budgets(&mut call);
        let Some(host) = self.replicas.get_mut(replica) else {
            return;
        };
        call.life = host.life;
        let (offset, bound, sure) = (host.offset, call.bound, call.sure);
        let Some(process) = host.process.as_mut() else {
            return;
        };
        let ask = Ask {
            hold,
            bound,
            owed: None,
            sure: call.sure,
            budgets: call.budgets.clone(),
            accounts: call.account.into_iter().collect(),
            confirm: call.confirm,
            ttl_ms: HOLD_TTL_MS,
        };
        let slices: Option<Vec<_>> = if call.account.is_some() {
            None
        } else {
            let mut budgets = call.budgets.clone();
            budgets.sort_unstable();
            budgets
                .iter()
                .map(|id| process.keeper.slice(*id).cloned())
                .collect()
        };
        let now = MonoNanos(self.time + offset);
        let taken = slices.and_then(|slices| {
            let outbox = &process.outbox;
            take(hold, (bound, sure), &slices, now, outbox).ok()
        });
        let budgets = call.budgets.clone();
        self.say(|| format!("a call for replica {replica}: {call:?}"));
        self.calls.insert(hold, call);
        match taken {
            Some(taken) => {
                self.granted_to(replica, hold, InHand::Held(taken.held));
                if taken.low {
                    for budget in budgets {
                        self.tell(replica, Event::Low(budget));
                    }
                }
            }
            None => self.tell(replica, Event::Ask(ask)),
        }
    }

    /// A call names the budgets in force, and sometimes one that was ended a moment ago.
    fn match_budgets(&self, call: &mut Call) {
        let now = self.time;
        let ended_at = |id: &BudgetId| self.ended_at.get(id).copied();
        call.budgets
            .retain(|id| ended_at(id).is_none_or(|at| now < at + STALE_MS * MS));
    }

    fn in_hand(&mut self, hold: HoldId) -> Option<(usize, InHand)> {
        let call = self.calls.get(&hold)?;
        let (replica, life) = (call.replica, call.life);
        if !self.is_alive(replica, life) {
            return None;
        }
        let what = self.process(replica)?.in_hand.remove(&hold)?;
        Some((replica, what))
    }

    pub(super) fn confirm(&mut self, hold: HoldId) {
        if let Some((replica, InHand::Reserved(reserved))) = self.in_hand(hold) {
            self.tell(replica, Event::Confirm(reserved));
        }
    }

    pub(super) fn send(&mut self, hold: HoldId) -> Result<(), Violation> {
        let Some((replica, InHand::Held(held))) = self.in_hand(hold) else {
            return Ok(());
        };
        let Some(call) = self.calls.get_mut(&hold) else {
            return Ok(());
        };
        if call.fate == Fate::Cancelled {
            held.release();
            self.tell(replica, Event::Tick);
            return Ok(());
        }
        let committed = held.commit();
        call.sent = true;
        let lasts = call.lasts_ms;
        let covers = committed.covers().collect();
        self.audit.sent(call, covers, &self.store.ended)?;
        self.say(|| format!("replica {replica} sends {hold:?}"));
        self.keep(replica, hold, InHand::Committed(committed));
        self.after_ms(lasts, What::Over(hold));
        Ok(())
    }

    pub(super) fn over(&mut self, hold: HoldId) {
        let in_hand = self.in_hand(hold);
        let Some(call) = self.calls.get_mut(&hold).filter(|call| !call.over) else {
            return;
        };
        call.over = true;
        self.audit.over(call);
        let Some((replica, InHand::Committed(committed))) = in_hand else {
            return;
        };
        match call.fate {
            Fate::Told(quality) => committed.settle(quality, call.told),
            Fate::Borne => committed.bear(call.told.cost),
            Fate::NotTold => {
                let all = committed.bound();
                committed.settle(Quality::Unknown, all);
            }
            Fate::NotBilled | Fate::Cancelled => committed.release(NotBilled::NotConnected),
            Fate::Dropped => drop(committed),
        }
        self.say(|| format!("{hold:?} is over"));
        self.tell(replica, Event::Tick);
    }
}

//! The table against one that does the same with a list and no care for time.

use super::*;
use proptest::prelude::*;

const TENANTS: u8 = 3;

fn tenant(number: u8) -> TenantId {
    TenantId::from_bytes([number; 16])
}

fn key(number: u8) -> KeptKey {
    [number; 32]
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Find(u8),
    Insert {
        key: u8,
        tenant: u8,
        bytes: u64,
        ttl: u64,
    },
    Sweep,
    PurgeTenant(u8),
    Wait(u64),
    Room(u64, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let insert = (0..12_u8, 0..TENANTS, 1..40_u64, 1..30_u64);
    prop_oneof![
        4 => (0..12_u8).prop_map(Step::Find),
        6 => insert.prop_map(|(key, tenant, bytes, ttl)| Step::Insert { key, tenant, bytes, ttl }),
        1 => Just(Step::Sweep),
        1 => (0..TENANTS).prop_map(Step::PurgeTenant),
        2 => (0..10_u64).prop_map(Step::Wait),
        1 => (40..200_u64, 4..12_usize).prop_map(|(bytes, entries)| Step::Room(bytes, entries)),
    ]
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: u8,
    tenant: u8,
    bytes: u64,
    ends: u64,
    is_protected: bool,
    touched: u64,
}

/// All entries in a list.
#[derive(Default)]
struct Naive {
    entries: Vec<Entry>,
    bytes: u64,
    count: usize,
    turn: u64,
}

impl Naive {
    fn oldest(&self, of: impl Fn(&Entry) -> bool) -> Option<usize> {
        let entries = self
            .entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| of(entry));
        let first = entries.min_by_key(|(_, entry)| (entry.is_protected, entry.touched));
        first.map(|(at, _)| at)
    }

    fn fits(&self, of: impl Fn(&Entry) -> bool, part: u64, more: Option<u64>) -> bool {
        let held = self.entries.iter().filter(|entry| of(entry));
        let (bytes, count) = held.fold((0, 0), |(bytes, count), it| (bytes + it.bytes, count + 1));
        let max = (self.count / usize::try_from(part).unwrap()).max(1);
        bytes + more.unwrap_or(0) <= self.bytes / part && count + usize::from(more.is_some()) <= max
    }

    fn make_room_of(&mut self, tenant: u8, more: Option<u64>) {
        while !self.fits(|it| it.tenant == tenant, 4, more) {
            let Some(at) = self.oldest(|it| it.tenant == tenant) else {
                break;
            };
            self.entries.remove(at);
        }
    }

    fn make_room(&mut self, more: Option<u64>) {
        while !self.fits(|_| true, 1, more) {
            let Some(at) = self.oldest(|_| true) else {
                break;
            };
            self.entries.remove(at);
        }
    }

    fn step(&mut self, step: Step, now: u64) -> Option<bool> {
        match step {
            Step::Find(key) => {
                self.entries.retain(|it| it.key != key || it.ends > now);
                self.turn += 1;
                let found = self.entries.iter_mut().find(|it| it.key == key);
                let Some(found) = found else {
                    return Some(false);
                };
                (found.is_protected, found.touched) = (true, self.turn);
                loop {
                    let protected = self.entries.iter().filter(|it| it.is_protected);
                    if protected.map(|it| it.bytes).sum::<u64>() <= self.bytes * 80 / 100 {
                        return Some(true);
                    }
                    let at = self.oldest(|it| it.is_protected).unwrap();
                    self.turn += 1;
                    (self.entries[at].is_protected, self.entries[at].touched) = (false, self.turn);
                }
            }
            Step::Insert {
                key,
                tenant,
                bytes,
                ttl,
            } => {
                if bytes > self.bytes / 4 {
                    return Some(false);
                }
                self.entries.retain(|it| it.ends > now && it.key != key);
                self.make_room_of(tenant, Some(bytes));
                self.make_room(Some(bytes));
                self.turn += 1;
                self.entries.push(Entry {
                    key,
                    tenant,
                    bytes,
                    ends: now + ttl,
                    is_protected: false,
                    touched: self.turn,
                });
                Some(true)
            }
            Step::Sweep => {
                self.entries.retain(|it| it.ends > now);
                None
            }
            Step::PurgeTenant(tenant) => {
                self.entries.retain(|it| it.tenant != tenant);
                None
            }
            Step::Wait(_) => None,
            Step::Room(bytes, count) => {
                (self.bytes, self.count) = (bytes, count);
                (0..TENANTS).for_each(|tenant| self.make_room_of(tenant, None));
                self.make_room(None);
                None
            }
        }
    }
}

proptest! {
    // LLM-87
    #[test]
    fn it_keeps_what_a_list_would_keep(steps in prop::collection::vec(step(), 1..120)) {
        let (mut table, mut naive, mut now) = (KeptTable::default(), Naive::default(), 1_000);
        let mut all = vec![Step::Room(120, 8)];
        all.extend(steps);
        for step in all {
            let at = MonoNanos(now);
            let got = match step {
                Step::Find(number) => {
                    let found = table.find(&key(number), at);
                    prop_assert!(found.is_none_or(|value| value == number));
                    Some(found.is_some())
                }
                Step::Insert { key: number, tenant: of, bytes, ttl } => {
                    let ends = MonoNanos(now + ttl);
                    let new = New { value: number, tenant: tenant(of), bytes, ends };
                    Some(table.insert(key(number), new, at).is_some())
                }
                Step::Sweep => {
                    table.sweep(at);
                    None
                }
                Step::PurgeTenant(of) => {
                    table.purge(|_, whose| whose == tenant(of));
                    None
                }
                Step::Wait(time) => {
                    now += time;
                    None
                }
                Step::Room(bytes, entries) => {
                    table.set_room(Room { bytes, entries });
                    None
                }
            };
            prop_assert_eq!(got, naive.step(step, at.0), "{:?}", step);
            let mut kept: Vec<_> = table.slots.values().map(|slot| slot.new.value).collect();
            let mut want: Vec<_> = naive.entries.iter().map(|entry| entry.key).collect();
            kept.sort_unstable();
            want.sort_unstable();
            prop_assert_eq!(&kept, &want, "{:?}", step);
            let bytes = naive.entries.iter().map(|entry| entry.bytes).sum();
            prop_assert_eq!(table.held(), Held { bytes, entries: want.len() });
            prop_assert_eq!(table.order.len(), want.len());
            prop_assert_eq!(table.ends.len(), want.len());
            let of_tenants: usize = table.tenants.values().map(|it| it.order.len()).sum();
            prop_assert_eq!(of_tenants, want.len());
        }
    }
}

fn new(value: u8, bytes: u64) -> New<u8> {
    New {
        value,
        tenant: tenant(value % 2),
        bytes,
        ends: MonoNanos(100),
    }
}

// LLM-87
#[test]
fn a_tenant_that_asks_for_much_pushes_out_its_own_alone() {
    let mut table = KeptTable::default();
    table.set_room(Room {
        bytes: 400,
        entries: 100,
    });
    let now = MonoNanos(0);
    table.insert(key(0), new(0, 10), now);
    for number in (1..100).step_by(2) {
        table.insert(key(number), new(number, 10), now);
    }
    assert_eq!(table.find(&key(0), now), Some(0));
    assert_eq!(
        table.held(),
        Held {
            bytes: 110,
            entries: 11
        }
    );
}

// LLM-87
#[test]
fn what_was_found_again_outlasts_what_was_asked_for_once() {
    let mut table = KeptTable::default();
    table.set_room(Room {
        bytes: 4_000,
        entries: 16,
    });
    let now = MonoNanos(0);
    table.insert(key(0), new(0, 1), now);
    assert_eq!(table.find(&key(0), now), Some(0));
    for number in (2..60).step_by(2) {
        table.insert(key(number), new(number, 1), now);
    }
    assert_eq!(table.find(&key(0), now), Some(0));
    assert_eq!(table.find(&key(2), now), None);
    // And ends all the same.
    assert_eq!(table.find(&key(0), MonoNanos(100)), None);
}

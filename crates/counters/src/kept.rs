//! Answers that are kept, and which go when there is no more room: without clock or lock.
//!
//! Least recently used goes first, and what was given again outlasts what never was: an entry is on
//! probation until it is found, then protected. Otherwise one caller who asks for many things once
//! would empty the cache for all. And a tenant has at most a quarter, so that none can push out
//! what others have.

use std::collections::{BTreeMap, HashMap};
use tollkeep_types::{MonoNanos, TenantId};

/// What an entry is found by.
pub type KeptKey = [u8; 32];

/// The part of all bytes that what was found again may have.
const PROTECTED_PERCENT: u64 = 80;
/// The part of everything that one tenant may have.
const TENANT_PART: u8 = 4;

/// How much is kept.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Room {
    /// Bytes of all.
    pub bytes: u64,
    /// How many.
    pub entries: usize,
}

impl Room {
    fn of_tenant(self) -> Self {
        Self {
            bytes: self.bytes / u64::from(TENANT_PART),
            entries: (self.entries / usize::from(TENANT_PART)).max(1),
        }
    }

    const fn takes(self, held: Held) -> bool {
        held.bytes <= self.bytes && held.entries <= self.entries
    }
}

/// How much is there.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Held {
    /// Bytes of all.
    pub bytes: u64,
    /// How many.
    pub entries: usize,
}

impl Held {
    const fn with(self, bytes: u64) -> Self {
        Self {
            bytes: self.bytes.saturating_add(bytes),
            entries: self.entries.saturating_add(1),
        }
    }

    const fn without(self, bytes: u64) -> Self {
        Self {
            bytes: self.bytes.saturating_sub(bytes),
            entries: self.entries.saturating_sub(1),
        }
    }
}

/// What comes into the table.
#[derive(Clone, Debug)]
pub struct New<V> {
    /// What is found again.
    pub value: V,
    /// Whose it is.
    pub tenant: TenantId,
    /// All that it takes of the room.
    pub bytes: u64,
    /// From then on it is not there any more.
    pub ends: MonoNanos,
}

#[derive(Debug)]
struct Slot<V> {
    new: New<V>,
    place: Place,
    born: u64,
}

/// Who goes first: on probation before protected, then the one that was touched longest ago.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Place {
    is_protected: bool,
    touched: u64,
}

/// The entries.
#[derive(Debug)]
pub struct KeptTable<V> {
    room: Room,
    slots: HashMap<KeptKey, Slot<V>>,
    order: BTreeMap<Place, KeptKey>,
    tenants: HashMap<TenantId, OfTenant>,
    ends: BTreeMap<(MonoNanos, u64), KeptKey>,
    held: Held,
    protected_bytes: u64,
    /// Goes up with each touch.
    turn: u64,
}

#[derive(Debug, Default)]
struct OfTenant {
    held: Held,
    order: BTreeMap<Place, KeptKey>,
}

impl<V> Default for KeptTable<V> {
    fn default() -> Self {
        Self {
            room: Room::default(),
            slots: HashMap::new(),
            order: BTreeMap::new(),
            tenants: HashMap::new(),
            ends: BTreeMap::new(),
            held: Held::default(),
            protected_bytes: 0,
            turn: 0,
        }
    }
}

impl<V: Clone> KeptTable<V> {
    /// Says how much there is room for; what is too much goes.
    pub fn set_room(&mut self, room: Room) {
        self.room = room;
        let tenants: Vec<_> = self.tenants.keys().copied().collect();
        for tenant in tenants {
            self.make_room_of(tenant, None);
        }
        self.make_room(None);
    }

    /// What is there now.
    pub const fn held(&self) -> Held {
        self.held
    }

    /// The entry, if it has not ended; it was found.
    pub fn find(&mut self, key: &KeptKey, now: MonoNanos) -> Option<V> {
        if self.slots.get(key)?.new.ends <= now {
            self.remove(key);
            return None;
        }
        self.touch(key, true);
        let max = self.room.bytes.saturating_mul(PROTECTED_PERCENT) / 100;
        while self.protected_bytes > max && self.demote() {}
        self.slots.get(key).map(|slot| slot.new.value.clone())
    }

    /// Keeps an entry, in place of one with the same key. Gives how many others went for it;
    /// `None`: it is more than its tenant may have.
    pub fn insert(&mut self, key: KeptKey, new: New<V>, now: MonoNanos) -> Option<usize> {
        if !self.room.of_tenant().takes(Held::default().with(new.bytes)) {
            return None;
        }
        self.sweep(now);
        self.remove(&key);
        let gone = self.make_room_of(new.tenant, Some(new.bytes));
        let gone = gone.saturating_add(self.make_room(Some(new.bytes)));
        let born = self.next();
        let place = Place {
            is_protected: false,
            touched: born,
        };
        self.held = self.held.with(new.bytes);
        let of_tenant = self.tenants.entry(new.tenant).or_default();
        of_tenant.held = of_tenant.held.with(new.bytes);
        of_tenant.order.insert(place, key);
        self.order.insert(place, key);
        self.ends.insert((new.ends, born), key);
        self.slots.insert(key, Slot { new, place, born });
        Some(gone)
    }

    /// Takes out what has ended; gives how many.
    pub fn sweep(&mut self, now: MonoNanos) -> usize {
        let mut swept = 0;
        while let Some((&(ends, _), &key)) = self.ends.first_key_value()
            && ends <= now
        {
            self.remove(&key);
            swept += 1;
        }
        swept
    }

    /// How many are meant.
    pub fn count(&self, is_meant: impl Fn(&V, TenantId) -> bool) -> usize {
        let slots = self.slots.values();
        slots
            .filter(|slot| is_meant(&slot.new.value, slot.new.tenant))
            .count()
    }

    /// Takes out what is meant; gives how many.
    pub fn purge(&mut self, mut is_meant: impl FnMut(&V, TenantId) -> bool) -> usize {
        let slots = self.slots.iter();
        let meant: Vec<_> = slots
            .filter(|(_, slot)| is_meant(&slot.new.value, slot.new.tenant))
            .map(|(key, _)| *key)
            .collect();
        meant.iter().for_each(|key| self.remove(key));
        meant.len()
    }

    fn next(&mut self) -> u64 {
        self.turn = self.turn.wrapping_add(1);
        self.turn
    }

    /// Gives an entry the youngest place, among those that were found or among the others.
    fn touch(&mut self, key: &KeptKey, is_protected: bool) {
        let touched = self.next();
        let Some(slot) = self.slots.get_mut(key) else {
            return;
        };
        let (before, now) = (
            slot.place,
            Place {
                is_protected,
                touched,
            },
        );
        slot.place = now;
        let bytes = slot.new.bytes;
        let tenant = slot.new.tenant;
        match (before.is_protected, is_protected) {
            (false, true) => self.protected_bytes = self.protected_bytes.saturating_add(bytes),
            (true, false) => self.protected_bytes = self.protected_bytes.saturating_sub(bytes),
            (true, true) | (false, false) => {}
        }
        self.order.remove(&before);
        self.order.insert(now, *key);
        if let Some(of_tenant) = self.tenants.get_mut(&tenant) {
            of_tenant.order.remove(&before);
            of_tenant.order.insert(now, *key);
        }
    }

    /// Lets the protected entry that was found longest ago prove itself again.
    fn demote(&mut self) -> bool {
        let first = Place {
            is_protected: true,
            touched: 0,
        };
        let oldest = self.order.range(first..).next().map(|(_, key)| *key);
        oldest.inspect(|key| self.touch(key, false)).is_some()
    }

    fn make_room_of(&mut self, tenant: TenantId, bytes: Option<u64>) -> usize {
        let room = self.room.of_tenant();
        let mut gone = 0;
        while let Some(of_tenant) = self.tenants.get(&tenant)
            && !room.takes(bytes.map_or(of_tenant.held, |bytes| of_tenant.held.with(bytes)))
            && let Some((_, &key)) = of_tenant.order.first_key_value()
        {
            self.remove(&key);
            gone += 1;
        }
        gone
    }

    fn make_room(&mut self, bytes: Option<u64>) -> usize {
        let mut gone = 0;
        while !self
            .room
            .takes(bytes.map_or(self.held, |bytes| self.held.with(bytes)))
            && let Some((_, &key)) = self.order.first_key_value()
        {
            self.remove(&key);
            gone += 1;
        }
        gone
    }

    fn remove(&mut self, key: &KeptKey) {
        let Some(Slot { new, place, born }) = self.slots.remove(key) else {
            return;
        };
        self.order.remove(&place);
        self.ends.remove(&(new.ends, born));
        self.held = self.held.without(new.bytes);
        if place.is_protected {
            self.protected_bytes = self.protected_bytes.saturating_sub(new.bytes);
        }
        if let Some(of_tenant) = self.tenants.get_mut(&new.tenant) {
            of_tenant.order.remove(&place);
            of_tenant.held = of_tenant.held.without(new.bytes);
            if of_tenant.held.entries == 0 {
                self.tenants.remove(&new.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests;

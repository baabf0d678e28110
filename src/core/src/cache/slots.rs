//! The slots of a key cache that processes share, and the arena with their documents. All of it is plain data without
//! pointers; whoever keeps it in shared memory locks it.

use std::collections::BTreeMap;

use crate::bounds::{MAX_NOTED_ERROR_BYTES, MAX_SOURCE_DESCRIPTOR_BYTES};
use crate::cache::freshness::Freshness;
use crate::cache::last_used::{self, LastUsed};
use crate::cache::worker_plan::{Request, Want};
use crate::time::{Span, Timestamp};

/// The use of a slot for one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SlotId {
    index: usize,
    incarnation: u64,
}

impl SlotId {
    /// The place of the slot among all.
    pub fn index(self) -> usize {
        self.index
    }
}

/// Whose settings name a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Owner(u32);

impl Owner {
    /// The server's own settings, which count before those of databases and roles.
    pub const SERVER: Self = Self(0);

    /// Settings that are in force in the database of this OID.
    pub const fn database(oid: u32) -> Self {
        Self(oid)
    }
}

/// What a slot says of its source.
#[derive(Clone, Debug)]
pub struct Contents {
    /// Changes with the document; 0 if there is none.
    pub serial: u64,
    /// The state of the keys.
    pub freshness: Freshness,
    /// Why the last fetch failed; `None` if it did not.
    pub error: Option<String>,
}

/// How publishing a document went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// It is there.
    Yes,
    /// It does not fit, and the former one stays.
    TooLarge,
    /// The slot is another source's.
    Gone,
}

/// A text of bounded length that has no pointers.
#[repr(C)]
struct BoundedText<const N: usize> {
    length: usize,
    bytes: [u8; N],
}

impl<const N: usize> BoundedText<N> {
    const EMPTY: Self = Self { length: 0, bytes: [0; N] };

    /// Stores as much of a text as fits.
    fn set(&mut self, text: &str) {
        let end = (0..=text.len().min(N)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        self.bytes[..end].copy_from_slice(&text.as_bytes()[..end]);
        self.length = end;
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }

    /// A copy of the text.
    fn text(&self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }
}

/// What the cluster knows of a source.
#[repr(C)]
pub struct Slot {
    /// Differs whenever the slot goes to another source; 0 if it never had one.
    incarnation: u64,
    descriptor: BoundedText<MAX_SOURCE_DESCRIPTOR_BYTES>,
    /// Who had the slot given to the source; the server, if its own settings name it.
    owner: Owner,
    /// The generation in which the document was published; 0 for none.
    serial: u64,
    /// Where the document is in the arena.
    offset: usize,
    length: usize,
    freshness: Freshness,
    error: BoundedText<MAX_NOTED_ERROR_BYTES>,
    /// The newest request, the newest one for newer keys than there are, the newest one that no cooldown holds up, and
    /// the newest one that the worker has answered.
    wanted: u64,
    wanted_newer: u64,
    wanted_now: u64,
    answered: u64,
}

impl Slot {
    /// One that no source has had.
    pub const FREE: Self = Self {
        incarnation: 0,
        descriptor: BoundedText::EMPTY,
        owner: Owner::SERVER,
        serial: 0,
        offset: 0,
        length: 0,
        freshness: Freshness::NEW,
        error: BoundedText::EMPTY,
        wanted: 0,
        wanted_newer: 0,
        wanted_now: 0,
        answered: 0,
    };

    /// What it says.
    pub fn contents(&self) -> Contents {
        let error = Some(self.error.text()).filter(|error| !error.is_empty());
        Contents { serial: self.serial, freshness: self.freshness, error }
    }

    /// The state of the keys.
    pub fn freshness(&self) -> Freshness {
        self.freshness
    }

    /// Notes the state of the keys, and why the last fetch failed, if it did.
    pub fn note(&mut self, freshness: Freshness, error: Option<&str>) {
        self.freshness = freshness;
        self.error.set(error.unwrap_or_default());
    }

    /// The document in the arena, unless there is none or it is the one of serial `known`.
    pub fn document<'a>(&self, arena: &'a [u8], known: u64) -> Option<&'a [u8]> {
        let news = self.serial != 0 && self.serial != known;
        news.then(|| &arena[self.offset..self.offset + self.length])
    }

    /// A new request; returns its number.
    pub fn want(&mut self, want: Want) -> u64 {
        self.wanted += 1;
        match want {
            Want::Keys => {}
            Want::Newer => self.wanted_newer = self.wanted,
            Want::Now => self.wanted_now = self.wanted,
        }
        self.wanted
    }

    /// The newest request that is not answered.
    pub fn open_request(&self) -> Option<Request> {
        let want = match self.answered {
            answered if self.wanted_now > answered => Want::Now,
            answered if self.wanted_newer > answered => Want::Newer,
            _ => Want::Keys,
        };
        (self.wanted > self.answered).then_some(Request { number: self.wanted, want })
    }

    /// Answers all requests up to a number.
    pub fn answer(&mut self, number: u64) {
        self.answered = self.answered.max(number);
    }

    /// Whether a request is answered.
    pub fn has_answered(&self, number: u64) -> bool {
        self.answered >= number
    }
}

/// All slots. How many there are is settled when the memory is made.
#[repr(C)]
pub struct Slots<S: ?Sized = [Slot]> {
    /// How often a slot was given to a source.
    incarnations: u64,
    /// Bytes of the arena up to the end of the last document.
    arena_used: usize,
    slots: S,
}

impl<const N: usize> Slots<[Slot; N]> {
    /// Slots that no source has had. So are others in memory that is zero, once [`Slot::FREE`] is in each.
    pub const FREE: Self = Self { incarnations: 0, arena_used: 0, slots: [const { Slot::FREE }; N] };
}

impl Slots {
    /// Puts [`Slot::FREE`] into each.
    pub fn free_all(&mut self) {
        self.slots.fill_with(|| Slot::FREE);
    }

    /// The slot of an id; `None` if it is another source's by now.
    pub fn of(&self, id: SlotId) -> Option<&Slot> {
        self.slots.get(id.index).filter(|slot| slot.incarnation == id.incarnation)
    }

    /// The slot of an id; `None` if it is another source's by now.
    pub fn of_mut(&mut self, id: SlotId) -> Option<&mut Slot> {
        self.slots.get_mut(id.index).filter(|slot| slot.incarnation == id.incarnation)
    }

    /// The slot of a source; `None` if it has none.
    pub fn find(&self, descriptor: &str) -> Option<SlotId> {
        let index = self
            .slots
            .iter()
            .position(|slot| slot.incarnation != 0 && slot.descriptor.bytes() == descriptor.as_bytes())?;
        Some(SlotId { index, incarnation: self.slots[index].incarnation })
    }

    /// All slots in use, and their descriptors; first those of sources for whose keys somebody waits.
    pub fn in_use(&self) -> Vec<(SlotId, String)> {
        let mut used: Vec<_> = self.slots.iter().enumerate().filter(|(_, slot)| slot.incarnation != 0).collect();
        used.sort_by_key(|(_, slot)| slot.open_request().is_none());
        used.into_iter()
            .map(|(index, slot)| (SlotId { index, incarnation: slot.incarnation }, slot.descriptor.text()))
            .collect()
    }

    /// The slot of a source, unless it is still to be claimed by this owner: see [`Slots::claim`].
    pub fn find_for(&self, descriptor: &str, owner: Owner) -> Option<SlotId> {
        self.find(descriptor).filter(|id| owner != Owner::SERVER || self.slots[id.index].owner == Owner::SERVER)
    }

    /// The slot of a source becomes the server's, if the server's own settings name it.
    pub fn claim(&mut self, id: SlotId, owner: Owner) {
        if owner == Owner::SERVER
            && let Some(slot) = self.of_mut(id)
        {
            slot.owner = owner;
        }
    }

    /// Gives a source a free slot; or the one that was not used for the longest time, if that is longer than `unused`; or
    /// one of the database that has the most slots, if it has more than the owner. `None` if there is none, or the
    /// descriptor is too long.
    pub fn give(
        &mut self,
        descriptor: &str,
        owner: Owner,
        last_used: &[LastUsed],
        unused: Span,
        now: Timestamp,
    ) -> Option<SlotId> {
        if descriptor.len() > MAX_SOURCE_DESCRIPTOR_BYTES {
            return None;
        }
        let free = self.slots.iter().position(|slot| slot.incarnation == 0);
        let index = free
            .or_else(|| last_used::reusable(last_used, unused, now))
            .or_else(|| self.taken_from_database_with_most(owner, last_used))?;
        self.incarnations += 1;
        let slot = &mut self.slots[index];
        *slot = Slot { incarnation: self.incarnations, owner, ..Slot::FREE };
        slot.descriptor.set(descriptor);
        last_used[index].set(now);
        Some(SlotId { index, incarnation: self.incarnations })
    }

    /// The slot that was not used for the longest time, of the database that has the most, if it has more than `owner`
    /// and one to spare. So nobody can take all slots and lock others out.
    fn taken_from_database_with_most(&self, owner: Owner, last_used: &[LastUsed]) -> Option<usize> {
        let held = held_by_databases(self.slots.iter().map(|slot| (slot.owner, usize::from(slot.incarnation != 0))));
        let own = held.get(&owner.0).copied().unwrap_or(0);
        let (most, most_held) = most(&held)?;
        if most_held <= own.max(1) {
            return None;
        }
        let theirs = self.slots.iter().enumerate().filter(|(_, slot)| slot.owner == most).map(|(index, _)| index);
        theirs.min_by_key(|index| last_used[*index].moment())
    }

    /// The slot with the largest document, of the database that has most of the arena, if that is more than the owner of
    /// a slot would have with a document of `size` bytes.
    fn document_of_database_with_most(&self, index: usize, size: usize) -> Option<usize> {
        let others = || self.slots.iter().enumerate().filter(|(other, slot)| *other != index && slot.length > 0);
        let held = held_by_databases(others().map(|(_, slot)| (slot.owner, slot.length)));
        let owner = self.slots[index].owner;
        let own = if owner == Owner::SERVER { 0 } else { held.get(&owner.0).copied().unwrap_or(0) + size };
        let (most, most_held) = most(&held)?;
        if most_held <= own {
            return None;
        }
        others().filter(|(_, slot)| slot.owner == most).max_by_key(|(_, slot)| slot.length).map(|(large, _)| large)
    }

    /// Publishes a document and its state. The serial, which is the next generation, changes only if the document does.
    /// If there is no room, databases that have more of it give theirs up.
    pub fn publish(
        &mut self,
        id: SlotId,
        arena: &mut [u8],
        document: &[u8],
        freshness: Freshness,
        next_generation: impl FnOnce() -> u64,
    ) -> Published {
        let Some(slot) = self.of(id) else { return Published::Gone };
        let same = slot.document(arena, 0) == Some(document);
        while !same && !self.replace_document(id.index, arena, document) {
            let Some(large) = self.document_of_database_with_most(id.index, document.len()) else {
                return Published::TooLarge;
            };
            self.slots[large] = Slot::FREE;
        }
        let slot = &mut self.slots[id.index];
        slot.note(freshness, None);
        let generation = next_generation();
        if !same {
            slot.serial = generation;
        }
        Published::Yes
    }

    /// Replaces the document of a slot; false if it does not fit, and then the former one stays.
    fn replace_document(&mut self, index: usize, arena: &mut [u8], document: &[u8]) -> bool {
        let others: usize = self.slots.iter().map(|slot| slot.length).sum::<usize>() - self.slots[index].length;
        if others + document.len() > arena.len() {
            return false;
        }
        (self.slots[index].serial, self.slots[index].length) = (0, 0);
        self.compact(arena);
        let start = self.arena_used;
        arena[start..start + document.len()].copy_from_slice(document);
        self.arena_used += document.len();
        (self.slots[index].offset, self.slots[index].length) = (start, document.len());
        true
    }

    /// Moves the documents to the start of the arena, in their order.
    fn compact(&mut self, arena: &mut [u8]) {
        let mut order: Vec<usize> = (0..self.slots.len()).collect();
        order.sort_unstable_by_key(|index| self.slots[*index].offset);
        let mut used = 0;
        for slot in order {
            let slot = &mut self.slots[slot];
            if slot.length > 0 {
                arena.copy_within(slot.offset..slot.offset + slot.length, used);
                slot.offset = used;
                used += slot.length;
            }
        }
        self.arena_used = used;
    }
}

/// How much of something each database has, by its OID.
fn held_by_databases(parts: impl Iterator<Item = (Owner, usize)>) -> BTreeMap<u32, usize> {
    let mut held = BTreeMap::new();
    for (owner, part) in parts.filter(|(owner, _)| *owner != Owner::SERVER) {
        *held.entry(owner.0).or_default() += part;
    }
    held
}

/// Who has most of it, and how much.
fn most(held: &BTreeMap<u32, usize>) -> Option<(Owner, usize)> {
    held.iter().max_by_key(|(_, held)| **held).map(|(database, held)| (Owner(*database), *held))
}

//! The slots of the shared key cache: whose they are, what is asked of them, and that no document damages another.

mod common;

use std::collections::HashMap;

use common::*;
use pg_jwks_core::bounds::{MAX_NOTED_ERROR_BYTES, MAX_SOURCE_DESCRIPTOR_BYTES};
use pg_jwks_core::cache::freshness::Freshness;
use pg_jwks_core::cache::last_used::LastUsed;
use pg_jwks_core::cache::slots::{Owner, Published, Slot, SlotId, Slots};
use pg_jwks_core::cache::worker_plan::{Request, Want};
use pg_jwks_core::time::{Span, Timestamp};
use proptest::prelude::*;

const COUNT: usize = 4;
const OURS: Owner = Owner::database(1);
const THEIRS: Owner = Owner::database(2);
const UNUSED: Span = Span::from_seconds(600);

fn at(seconds: i64) -> Timestamp {
    NOW + Span::from_seconds(seconds)
}

/// The shared memory of a small cluster.
struct Memory {
    slots: Box<Slots>,
    arena: [u8; 64],
    last_used: [LastUsed; COUNT],
    generation: u64,
}

impl Memory {
    fn new() -> Self {
        let last_used = [const { LastUsed::never() }; COUNT];
        Self { slots: Box::new(Slots::<[Slot; COUNT]>::FREE), arena: [0; 64], last_used, generation: 0 }
    }

    fn give(&mut self, descriptor: &str, now: Timestamp) -> Option<SlotId> {
        self.give_to(OURS, descriptor, now)
    }

    fn give_to(&mut self, owner: Owner, descriptor: &str, now: Timestamp) -> Option<SlotId> {
        self.slots.give(descriptor, owner, &self.last_used, UNUSED, now)
    }

    fn names(&self) -> Vec<String> {
        self.slots.in_use().into_iter().map(|(_, name)| name).collect()
    }

    fn publish(&mut self, id: SlotId, document: &[u8]) -> Published {
        let generation = &mut self.generation;
        self.slots.publish(id, &mut self.arena, document, Freshness::NEW, || {
            *generation += 1;
            *generation
        })
    }

    fn document(&self, id: SlotId) -> Option<&[u8]> {
        self.slots.of(id)?.document(&self.arena, 0)
    }
}

#[test]
fn a_source_keeps_its_slot_until_nobody_uses_it() {
    let mut memory = Memory::new();
    let ids = ["a", "b", "c", "d"].map(|source| memory.give(source, at(0)).expect("a slot"));
    assert_eq!(memory.slots.find("c"), Some(ids[2]));
    assert_eq!(memory.give("e", at(600)), None, "all are in use");
    memory.last_used[1].touch(at(1));
    memory.last_used[2].forget();
    let given = memory.give("e", at(600)).expect("the slot that nobody uses");
    assert_eq!((given.index(), memory.slots.find("c"), memory.slots.find("e")), (2, None, Some(given)));
    let names: Vec<_> = memory.slots.in_use().into_iter().map(|(_, name)| name).collect();
    assert_eq!(names, ["a", "b", "e", "d"]);
}

#[test]
fn what_is_said_of_a_slot_is_not_said_of_its_next_source() {
    let mut memory = Memory::new();
    let ids = ["a", "b", "c", "d"].map(|source| memory.give(source, at(0)).expect("a slot"));
    assert_eq!(memory.publish(ids[0], b"keys of a"), Published::Yes);
    memory.slots.of_mut(ids[0]).expect("the slot").want(Want::Now);
    memory.slots.of_mut(ids[0]).expect("the slot").note(Freshness::NEW, Some("It failed."));
    memory.last_used[0].forget();
    let given = memory.give("e", at(1)).expect("a slot");
    assert_eq!(given.index(), ids[0].index());
    assert!(memory.slots.of(ids[0]).is_none() && memory.slots.of_mut(ids[0]).is_none());
    assert_eq!(memory.publish(ids[0], b"keys of a"), Published::Gone);
    let slot = memory.slots.of(given).expect("the slot");
    let contents = slot.contents();
    assert_eq!((contents.serial, contents.freshness, contents.error), (0, Freshness::NEW, None));
    assert_eq!((slot.open_request(), slot.document(&memory.arena, 0)), (None, None));
}

#[test]
fn a_database_that_fills_the_slots_locks_nobody_out() {
    let mut memory = Memory::new();
    for (seconds, source) in ["a", "b", "c", "d"].into_iter().enumerate() {
        memory.give_to(OURS, source, at(seconds as i64)).expect("a slot");
    }
    assert_eq!(memory.give_to(OURS, "e", at(5)), None, "its own sources stay");
    memory.last_used[0].touch(at(5));
    memory.give_to(THEIRS, "x", at(6)).expect("the slot that was not used for the longest time");
    assert_eq!(memory.names(), ["a", "x", "c", "d"]);
    memory.give_to(Owner::SERVER, "s", at(7)).expect("a slot");
    assert_eq!(memory.names(), ["a", "x", "s", "d"]);
    assert_eq!(memory.give_to(Owner::database(3), "z", at(8)).map(SlotId::index), Some(3));
    assert_eq!(memory.give_to(Owner::database(4), "z", at(9)), None, "nobody has more than one");
    assert_eq!(memory.give_to(Owner::SERVER, "t", at(9)), None);
}

#[test]
fn a_source_of_the_servers_own_settings_is_taken_from_nobody() {
    let mut memory = Memory::new();
    for source in ["a", "b", "c", "d"] {
        memory.give_to(OURS, source, at(0)).expect("a slot");
    }
    for source in ["a", "b", "c"] {
        assert_eq!(memory.slots.find_for(source, Owner::SERVER), None, "it is still to be claimed");
        let id = memory.slots.find_for(source, THEIRS).expect("the slot");
        memory.slots.claim(id, THEIRS);
        assert_eq!(memory.slots.find_for(source, Owner::SERVER), None, "a database claims nothing");
        memory.slots.claim(id, Owner::SERVER);
        assert_eq!(memory.slots.find_for(source, Owner::SERVER), Some(id));
    }
    assert_eq!(memory.give_to(THEIRS, "x", at(1)), None);
    assert_eq!(memory.names(), ["a", "b", "c", "d"]);
}

#[test]
fn a_database_that_fills_the_arena_gives_room_to_others() {
    let mut memory = Memory::new();
    let [a, b] = ["a", "b"].map(|source| memory.give_to(OURS, source, at(0)).expect("a slot"));
    let x = memory.give_to(THEIRS, "x", at(0)).expect("a slot");
    let s = memory.give_to(Owner::SERVER, "s", at(0)).expect("a slot");
    assert_eq!((memory.publish(a, &[1; 40]), memory.publish(b, &[2; 24])), (Published::Yes, Published::Yes));
    assert_eq!(memory.publish(b, &[2; 25]), Published::TooLarge, "nobody else has more");
    assert_eq!(memory.publish(x, &[3; 40]), Published::Yes);
    assert_eq!((memory.document(a), memory.document(b)), (None, Some(&[2; 24][..])));
    assert!(memory.slots.of(a).is_none(), "the worker finds it gone");
    assert_eq!(memory.publish(s, &[4; 60]), Published::Yes);
    assert_eq!((memory.document(x), memory.document(b), memory.document(s)), (None, None, Some(&[4; 60][..])));
    assert_eq!(memory.publish(s, &[4; 65]), Published::TooLarge);
    let y = memory.give_to(THEIRS, "y", at(0)).expect("a slot");
    assert_eq!(memory.publish(y, &[5; 5]), Published::TooLarge, "the server's documents stay");
    assert_eq!(memory.document(s), Some(&[4; 60][..]));
}

#[test]
fn a_descriptor_is_kept_whole_or_not_at_all() {
    let mut memory = Memory::new();
    let longest = "x".repeat(MAX_SOURCE_DESCRIPTOR_BYTES);
    assert_eq!(memory.give(&(longest.clone() + "x"), at(0)), None);
    assert!(memory.give(&longest, at(0)).is_some());
    assert!(memory.slots.find(&longest).is_some() && memory.slots.find(&longest[1..]).is_none());
}

#[test]
fn an_error_is_cut_between_characters() {
    let mut memory = Memory::new();
    let id = memory.give("a", at(0)).expect("a slot");
    let slot = memory.slots.of_mut(id).expect("the slot");
    slot.note(Freshness::NEW, Some(&"é".repeat(MAX_NOTED_ERROR_BYTES)));
    assert_eq!(slot.contents().error, Some("é".repeat(MAX_NOTED_ERROR_BYTES / 2)));
    let odd = "x".to_owned() + &"é".repeat(MAX_NOTED_ERROR_BYTES);
    slot.note(Freshness::NEW, Some(&odd));
    assert_eq!(slot.contents().error, Some(odd[..MAX_NOTED_ERROR_BYTES - 1].to_owned()));
    slot.note(Freshness::NEW, None);
    assert_eq!(slot.contents().error, None);
}

#[test]
fn the_most_demanding_open_request_counts_until_it_is_answered() {
    let mut memory = Memory::new();
    let id = memory.give("a", at(0)).expect("a slot");
    let slot = memory.slots.of_mut(id).expect("the slot");
    assert_eq!(slot.open_request(), None);
    for (want, counts) in
        [(Want::Keys, Want::Keys), (Want::Newer, Want::Newer), (Want::Now, Want::Now), (Want::Keys, Want::Now)]
    {
        let number = slot.want(want);
        assert_eq!(slot.open_request(), Some(Request { number, want: counts }));
    }
    slot.answer(3);
    assert!(slot.has_answered(3) && !slot.has_answered(4));
    assert_eq!(slot.open_request(), Some(Request { number: 4, want: Want::Keys }));
    slot.answer(4);
    slot.answer(1);
    assert_eq!(slot.open_request(), None);
}

#[test]
fn a_document_that_does_not_fit_leaves_the_former_one() {
    let mut memory = Memory::new();
    let (a, b) = (memory.give("a", at(0)).expect("a slot"), memory.give("b", at(0)).expect("a slot"));
    assert_eq!(memory.publish(a, &[1; 40]), Published::Yes);
    assert_eq!(memory.publish(b, &[2; 24]), Published::Yes);
    assert_eq!(memory.publish(b, &[3; 25]), Published::TooLarge);
    assert_eq!((memory.document(a), memory.document(b)), (Some(&[1; 40][..]), Some(&[2; 24][..])));
    assert_eq!(memory.publish(a, &[4; 39]), Published::Yes);
    assert_eq!(memory.publish(b, &[3; 25]), Published::Yes);
}

#[test]
fn the_serial_changes_with_the_document_only() {
    let mut memory = Memory::new();
    let id = memory.give("a", at(0)).expect("a slot");
    let mut serial = |document: &[u8]| {
        assert_eq!(memory.publish(id, document), Published::Yes);
        memory.slots.of(id).expect("the slot").contents().serial
    };
    let first = serial(b"one");
    assert_eq!(serial(b"one"), first);
    let second = serial(b"two");
    assert!(second > first);
    let slot = memory.slots.of(id).expect("the slot");
    assert_eq!(slot.document(&memory.arena, second), None, "it is known");
    assert_eq!(slot.document(&memory.arena, first), Some(&b"two"[..]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn no_document_damages_another(changes in prop::collection::vec((0..6_usize, 0..40_usize, any::<u8>()), 1..80)) {
        let mut memory = Memory::new();
        let mut expected: HashMap<SlotId, Vec<u8>> = HashMap::new();
        for (source, length, byte) in changes {
            let name = source.to_string();
            // A slot is taken from the source that follows, so that all sources have their turns.
            let found = memory.slots.find(&name).or_else(|| {
                memory.last_used[source % COUNT].forget();
                memory.give(&name, at(0))
            });
            let id = found.expect("a slot");
            let document = vec![byte; length];
            expected.retain(|other, _| memory.slots.of(*other).is_some());
            let others: usize = expected.iter().filter(|(other, _)| **other != id).map(|(_, kept)| kept.len()).sum();
            let fits = others + length <= memory.arena.len();
            let published = memory.publish(id, &document);
            prop_assert_eq!(published, if fits { Published::Yes } else { Published::TooLarge });
            if fits {
                expected.insert(id, document);
            }
            for (id, document) in &expected {
                prop_assert_eq!(memory.document(*id), Some(&document[..]));
            }
        }
    }
}

//! The life of key sets: the state machine against tables, and against a model that is written independently of it.

mod common;

use std::sync::{Arc, LazyLock};

use common::*;
use pg_jwks_core::cache::freshness::{CachedKeys, Limits, Step};
use pg_jwks_core::jose::jwks::KeySet;
use pg_jwks_core::time::{Span, Timestamp};
use proptest::prelude::*;

static SETS: LazyLock<[Arc<KeySet>; 2]> = LazyLock::new(|| [key_set(&[&P256]), key_set(&[&ED25519])]);

/// What a step says, with the number of the set.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Said {
    Use(usize),
    UseAndRefresh(usize),
    Fetch,
    Unavailable,
}

fn said(step: &Step) -> Said {
    let number = |keys: &Arc<KeySet>| SETS.iter().position(|set| Arc::ptr_eq(set, keys)).unwrap();
    match step {
        Step::Use(keys) => Said::Use(number(keys)),
        Step::UseAndRefresh(keys) => Said::UseAndRefresh(number(keys)),
        Step::Fetch => Said::Fetch,
        Step::Unavailable => Said::Unavailable,
    }
}

const HOUR: i64 = 3600;

/// The defaults of the settings.
fn limits() -> Limits {
    let seconds = Span::from_seconds;
    Limits { ttl: seconds(HOUR), cooldown: seconds(30), max_stale: seconds(24 * HOUR) }
}

/// The moment this many seconds after the tests' present, and a microsecond before it.
fn at(seconds: i64) -> Timestamp {
    NOW + Span::from_seconds(seconds)
}

fn before(seconds: i64) -> Timestamp {
    Timestamp::from_micros(at(seconds).micros() - 1)
}

fn fetched(max_age: Option<i64>) -> CachedKeys {
    let mut cached = CachedKeys::default();
    cached.fetched(SETS[0].clone(), max_age.map(Span::from_seconds), NOW, &limits());
    cached
}

#[track_caller]
fn assert_steps(cached: &CachedKeys, table: &[(Timestamp, Said)]) {
    for (now, expected) in table {
        let seconds = now.since(NOW);
        assert_eq!(said(&cached.step(*now, &limits())), *expected, "{seconds}");
    }
}

#[test]
fn without_keys_there_is_a_fetch() {
    assert_steps(&CachedKeys::default(), &[(NOW, Said::Fetch), (at(-HOUR), Said::Fetch)]);
}

#[test]
fn keys_are_refreshed_at_80_percent_of_their_life_and_fetched_at_its_end() {
    assert_steps(
        &fetched(None),
        &[
            (NOW, Said::Use(0)),
            (before(2880), Said::Use(0)),
            (at(2880), Said::UseAndRefresh(0)),
            (before(HOUR), Said::UseAndRefresh(0)),
            (at(HOUR), Said::Fetch),
        ],
    );
}

#[test]
fn max_age_shortens_life_down_to_a_minute_and_never_lengthens_it() {
    for (max_age, life) in [(None, 3600), (Some(86400), 3600), (Some(600), 600), (Some(60), 60), (Some(0), 60)] {
        let cached = fetched(max_age);
        assert_steps(
            &cached,
            &[
                (before(life * 4 / 5), Said::Use(0)),
                (at(life * 4 / 5), Said::UseAndRefresh(0)),
                (before(life), Said::UseAndRefresh(0)),
                (at(life), Said::Fetch),
            ],
        );
    }
}

#[test]
fn a_ttl_below_a_minute_is_the_operators_choice() {
    let limits = Limits { ttl: Span::from_seconds(10), ..limits() };
    let mut cached = CachedKeys::default();
    cached.fetched(SETS[0].clone(), Some(Span::ZERO), NOW, &limits);
    assert_eq!(said(&cached.step(before(8), &limits)), Said::Use(0));
    assert_eq!(said(&cached.step(at(10), &limits)), Said::Fetch);
}

#[test]
fn a_ttl_that_was_lowered_holds_for_keys_that_were_fetched_before() {
    let limits = Limits { ttl: Span::from_seconds(100), ..limits() };
    let cached = fetched(None);
    assert_eq!(said(&cached.step(at(99), &limits)), Said::UseAndRefresh(0));
    assert_eq!(said(&cached.step(at(100), &limits)), Said::Fetch);
}

#[test]
fn failures_back_off_up_to_the_cooldown() {
    let mut cached = CachedKeys::default();
    let mut now = 0;
    for wait in [1, 2, 4, 8, 16, 30, 30, 30] {
        cached.failed("no answer".into(), at(now));
        assert_steps(&cached, &[(at(now), Said::Unavailable), (before(now + wait), Said::Unavailable)]);
        assert_steps(&cached, &[(at(now + wait), Said::Fetch)]);
        now += wait;
    }
    // So many failures do not overflow the doubling.
    for _ in 0..100 {
        cached.failed("no answer".into(), at(now));
    }
    assert_steps(&cached, &[(before(now + 30), Said::Unavailable), (at(now + 30), Said::Fetch)]);
    cached.fetched(SETS[1].clone(), None, at(now + 30), &limits());
    cached.failed("no answer".into(), at(now + 5000));
    assert_steps(&cached, &[(before(now + 5001), Said::Use(1)), (at(now + 5001), Said::Fetch)]);
}

#[test]
fn last_known_good_keys_serve_during_an_outage_and_not_for_ever() {
    let mut cached = fetched(None);
    let day = 24 * HOUR;
    for now in (3000..day).step_by(977) {
        cached.failed("no answer".into(), at(now));
        assert_steps(&cached, &[(at(now), Said::Use(0))]);
        assert_eq!(cached.last_error(), Some("no answer"));
    }
    cached.failed("no answer".into(), before(day));
    assert_steps(&cached, &[(before(day), Said::Use(0)), (at(day), Said::Unavailable), (at(day + 30), Said::Fetch)]);
    cached.fetched(SETS[1].clone(), None, at(day + 30), &limits());
    assert_steps(&cached, &[(at(day + 30), Said::Use(1))]);
    assert_eq!(cached.last_error(), None);
}

#[test]
fn a_max_stale_below_the_life_takes_nothing_from_it() {
    let limits = Limits { max_stale: Span::ZERO, ..limits() };
    let mut cached = fetched(None);
    assert_eq!(said(&cached.step(before(HOUR), &limits)), Said::UseAndRefresh(0));
    cached.failed("no answer".into(), before(HOUR));
    assert_eq!(said(&cached.step(before(HOUR), &limits)), Said::Use(0));
    assert_eq!(said(&cached.step(at(HOUR), &limits)), Said::Unavailable);
}

#[test]
fn a_clock_that_was_set_back_causes_a_fetch_and_no_outage() {
    let mut cached = fetched(None);
    assert_steps(&cached, &[(before(0), Said::Fetch), (at(-HOUR), Said::Fetch)]);
    cached.failed("no answer".into(), at(-HOUR));
    assert_steps(&cached, &[(at(-HOUR), Said::Use(0)), (at(1 - HOUR), Said::Fetch)]);
    // A failure in the future says nothing about when to try again.
    cached.failed("no answer".into(), at(HOUR));
    assert_steps(&cached, &[(at(10), Said::Use(0)), (at(3000), Said::UseAndRefresh(0))]);
}

#[test]
fn keys_from_far_in_the_future_do_not_serve_until_then() {
    let mut cached = fetched(None);
    let year = 365 * 24 * HOUR;
    cached.failed("no answer".into(), at(-year));
    assert_steps(&cached, &[(at(-year), Said::Unavailable), (at(1 - year), Said::Fetch)]);
}

#[test]
fn unknown_keys_cause_one_fetch_a_cooldown() {
    let mut cached = fetched(None);
    assert!(cached.may_fetch_for_unknown_key(at(0), &limits()));
    for early in [0, 1, 29] {
        assert!(!cached.may_fetch_for_unknown_key(at(early), &limits()));
    }
    assert!(!cached.may_fetch_for_unknown_key(before(30), &limits()));
    assert!(cached.may_fetch_for_unknown_key(at(30), &limits()));
    assert!(cached.may_fetch_for_unknown_key(at(10), &limits()), "the clock was set back");
    assert!(!cached.may_fetch_for_unknown_key(at(11), &limits()));
}

/// The rules of the cache again, in microseconds since the tests' present.
#[derive(Default)]
struct Model {
    held: Option<(usize, i64, i64)>,
    failures: Vec<i64>,
}

impl Model {
    fn step(&self, now: i64, limits: &Limits) -> Said {
        let micros = |span: Span| (NOW + span).micros() - NOW.micros();
        let waiting = self.failures.last().is_some_and(|last| {
            let doubled = 1_000_000_i64.checked_shl(self.failures.len() as u32 - 1).filter(|wait| *wait > 0);
            let wait = doubled.unwrap_or(i64::MAX).min(micros(limits.cooldown));
            (*last..last + wait).contains(&now)
        });
        let Some((set, from, life)) = self.held else {
            return if waiting { Said::Unavailable } else { Said::Fetch };
        };
        let life = life.min(micros(limits.ttl));
        let age = now - from;
        if (0..life).contains(&age) {
            let due = age * 5 >= life * 4 && !waiting;
            return if due { Said::UseAndRefresh(set) } else { Said::Use(set) };
        }
        match (waiting, age.abs() < life.max(micros(limits.max_stale))) {
            (false, _) => Said::Fetch,
            (true, true) => Said::Use(set),
            (true, false) => Said::Unavailable,
        }
    }
}

#[derive(Clone, Debug)]
enum Event {
    Pass(i64),
    Fetched(usize, Option<i64>),
    Failed,
}

fn event() -> impl Strategy<Value = Event> {
    // Multiples of a quarter second meet all the edges.
    let quarters = prop_oneof![4 => 0..200_i64, 3 => 0..20_000_i64, 1 => 0..500_000_i64, 1 => -20_000..0_i64];
    prop_oneof![
        5 => quarters.prop_map(|quarters| Event::Pass(quarters * 250_000)),
        1 => (0..2_usize, prop::option::of(0..5000_i64)).prop_map(|(set, max_age)| Event::Fetched(set, max_age)),
        2 => Just(Event::Failed),
    ]
}

fn any_limits() -> impl Strategy<Value = Limits> {
    let seconds = |range: std::ops::Range<i64>| range.prop_map(Span::from_seconds);
    (seconds(1..5000), seconds(0..100), seconds(0..20_000)).prop_map(|(ttl, cooldown, max_stale)| Limits {
        ttl,
        cooldown,
        max_stale,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_state_machine_is_the_model(limits in any_limits(), events in prop::collection::vec(event(), 1..60)) {
        let (mut cached, mut model, mut now) = (CachedKeys::default(), Model::default(), 0);
        let moment = |now: i64| Timestamp::from_micros(NOW.micros() + now);
        for event in events {
            match event {
                Event::Pass(micros) => now += micros,
                Event::Fetched(set, max_age) => {
                    cached.fetched(SETS[set].clone(), max_age.map(Span::from_seconds), moment(now), &limits);
                    let ttl = (NOW + limits.ttl).micros() - NOW.micros();
                    let life = max_age.map_or(ttl, |age| (age.max(60) * 1_000_000).min(ttl));
                    model = Model { held: Some((set, now, life)), failures: Vec::new() };
                }
                Event::Failed => {
                    cached.failed("no answer".into(), moment(now));
                    model.failures.push(now);
                }
            }
            prop_assert_eq!(said(&cached.step(moment(now), &limits)), model.step(now, &limits));
            prop_assert_eq!(cached.last_error().is_some(), !model.failures.is_empty());
        }
    }

    #[test]
    fn a_failed_fetch_never_takes_keys_away(age in 0..86_400_i64, failures in 1..20_usize) {
        let mut cached = fetched(None);
        for _ in 0..failures {
            cached.failed("no answer".into(), at(age));
        }
        prop_assert!(matches!(said(&cached.step(at(age), &limits())), Said::Use(0)));
    }

    #[test]
    fn fetches_are_bounded_however_often_keys_are_needed(
        passes in prop::collection::vec(0..2_000_i64, 1..400),
        unknown in any::<bool>(),
    ) {
        // Every fetch fails, which is the worst case, or every token has an unknown key.
        let (mut cached, mut now, mut fetches) = (CachedKeys::default(), NOW, 0);
        for millis in passes {
            now = now + Span::from_millis(millis);
            if unknown {
                fetches += i64::from(cached.may_fetch_for_unknown_key(now, &limits()));
            } else if matches!(cached.step(now, &limits()), Step::Fetch) {
                fetches += 1;
                cached.failed("no answer".into(), now);
            }
        }
        // Waits of 1, 2, 4, 8 and 16 s come before those of the cooldown.
        let first = if unknown { 1 } else { 6 };
        prop_assert!(fetches <= first + now.since(NOW).seconds() / 30, "{} in {}", fetches, now.since(NOW));
    }
}

#[test]
fn a_process_that_fetches_unasked_begins_at_once_and_then_keeps_to_the_life_of_its_keys() {
    let held = fetched(None);
    assert_eq!(CachedKeys::default().due_after(None, at(0), &limits()), at(0));
    assert_eq!(held.due_after(None, at(5), &limits()), at(5), "stored keys do not hold up the first fetch");
    assert_eq!(held.due_after(Some(at(0)), at(5), &limits()), held.due(&limits()));
    assert!(held.is_fresh(at(0), &limits()) && held.is_fresh(before(HOUR), &limits()));
    assert!(!held.is_fresh(at(HOUR), &limits()) && !CachedKeys::default().is_fresh(at(0), &limits()));
}

#[test]
fn a_process_that_fetches_unasked_does_so_when_the_clock_was_set_back() {
    let held = fetched(None);
    assert!(!held.is_fresh(before(0), &limits()));
    // Once at once, although nothing is due by the former clock for a day; and where that brings nothing, again and again.
    let now = at(-24 * HOUR);
    assert_eq!(held.due_after(Some(at(0)), now, &limits()), now);
    assert_eq!(held.due_after(Some(now), now, &limits()), now + limits().cooldown);
    let mut newer = held.clone();
    newer.fetched(SETS[1].clone(), None, now, &limits());
    assert!(newer.is_fresh(now, &limits()));
    assert_eq!(newer.due_after(Some(now), now, &limits()), newer.due(&limits()));
}

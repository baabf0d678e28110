//! The life of key sets: the state machine against tables, and against a model that is written independently of it.

mod common;

use common::*;
use pg_jwks_core::cache::freshness::{Freshness, Limits, Step, Upkeep};
use pg_jwks_core::time::{Span, Timestamp};
use proptest::prelude::*;

/// What a step says, with the number of the set that is held.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Said {
    Use(usize),
    UseAndRefresh(usize),
    Fetch,
    Unavailable,
}

/// The state with what is kept beside it: the number of a set.
#[derive(Clone, Default)]
struct Cached {
    state: Freshness,
    set: Option<usize>,
}

impl Cached {
    fn step(&self, now: Timestamp, limits: &Limits) -> Said {
        match self.state.step(now, limits, Upkeep::OnUse) {
            Step::Use => Said::Use(self.set.expect("keys")),
            Step::UseAndRefresh => Said::UseAndRefresh(self.set.expect("keys")),
            Step::Fetch => Said::Fetch,
            Step::Unavailable => Said::Unavailable,
        }
    }

    fn fetched(&mut self, set: usize, max_age: Option<Span>, now: Timestamp, limits: &Limits) {
        self.state.fetched(now, max_age, limits);
        self.set = Some(set);
    }

    fn failed(&mut self, now: Timestamp) {
        self.state.failed(now);
    }

    /// Asks to fetch for an unknown key, and does where that may be.
    fn misses(&mut self, now: Timestamp) -> bool {
        let may = self.state.may_fetch_for_unknown_key(now, &limits());
        if may {
            self.state.missed(now, &limits());
        }
        may
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

fn fetched(max_age: Option<i64>) -> Cached {
    let mut cached = Cached::default();
    cached.fetched(0, max_age.map(Span::from_seconds), NOW, &limits());
    cached
}

#[track_caller]
fn assert_steps(cached: &Cached, table: &[(Timestamp, Said)]) {
    for (now, expected) in table {
        let seconds = now.since(NOW);
        assert_eq!(cached.step(*now, &limits()), *expected, "{seconds}");
    }
}

#[test]
fn without_keys_there_is_a_fetch() {
    assert_steps(&Cached::default(), &[(NOW, Said::Fetch), (at(-HOUR), Said::Fetch)]);
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
    let mut cached = Cached::default();
    cached.fetched(0, Some(Span::ZERO), NOW, &limits);
    assert_eq!(cached.step(before(8), &limits), Said::Use(0));
    assert_eq!(cached.step(at(10), &limits), Said::Fetch);
}

#[test]
fn a_ttl_that_was_lowered_holds_for_keys_that_were_fetched_before() {
    let limits = Limits { ttl: Span::from_seconds(100), ..limits() };
    let cached = fetched(None);
    assert_eq!(cached.step(at(99), &limits), Said::UseAndRefresh(0));
    assert_eq!(cached.step(at(100), &limits), Said::Fetch);
}

#[test]
fn failures_back_off_up_to_the_cooldown() {
    let mut cached = Cached::default();
    let mut now = 0;
    for wait in [1, 2, 4, 8, 16, 30, 30, 30] {
        cached.failed(at(now));
        assert_steps(&cached, &[(at(now), Said::Unavailable), (before(now + wait), Said::Unavailable)]);
        assert_steps(&cached, &[(at(now + wait), Said::Fetch)]);
        now += wait;
    }
    // So many failures do not overflow the doubling.
    for _ in 0..100 {
        cached.failed(at(now));
    }
    assert_steps(&cached, &[(before(now + 30), Said::Unavailable), (at(now + 30), Said::Fetch)]);
    cached.fetched(1, None, at(now + 30), &limits());
    cached.failed(at(now + 5000));
    assert_steps(&cached, &[(before(now + 5001), Said::Use(1)), (at(now + 5001), Said::Fetch)]);
}

#[test]
fn last_known_good_keys_serve_during_an_outage_and_not_for_ever() {
    let mut cached = fetched(None);
    let day = 24 * HOUR;
    for now in (3000..day).step_by(977) {
        cached.failed(at(now));
        assert_steps(&cached, &[(at(now), Said::Use(0))]);
        assert!(cached.state.has_failed());
    }
    cached.failed(before(day));
    assert_steps(&cached, &[(before(day), Said::Use(0)), (at(day), Said::Unavailable), (at(day + 30), Said::Fetch)]);
    cached.fetched(1, None, at(day + 30), &limits());
    assert_steps(&cached, &[(at(day + 30), Said::Use(1))]);
    assert!(!cached.state.has_failed());
}

#[test]
fn a_max_stale_below_the_life_takes_nothing_from_it() {
    let limits = Limits { max_stale: Span::ZERO, ..limits() };
    let mut cached = fetched(None);
    assert_eq!(cached.step(before(HOUR), &limits), Said::UseAndRefresh(0));
    cached.failed(before(HOUR));
    assert_eq!(cached.step(before(HOUR), &limits), Said::Use(0));
    assert_eq!(cached.step(at(HOUR), &limits), Said::Unavailable);
}

#[test]
fn a_clock_that_was_set_back_causes_a_fetch_and_no_outage() {
    let mut cached = fetched(None);
    assert_steps(&cached, &[(before(0), Said::Fetch), (at(-HOUR), Said::Fetch)]);
    cached.failed(at(-HOUR));
    assert_steps(&cached, &[(at(-HOUR), Said::Use(0)), (at(1 - HOUR), Said::Fetch)]);
    // A failure in the future says nothing about when to try again.
    cached.failed(at(HOUR));
    assert_steps(&cached, &[(at(10), Said::Use(0)), (at(3000), Said::UseAndRefresh(0))]);
}

#[test]
fn keys_from_far_in_the_future_do_not_serve_until_then() {
    let mut cached = fetched(None);
    let year = 365 * 24 * HOUR;
    cached.failed(at(-year));
    assert_steps(&cached, &[(at(-year), Said::Unavailable), (at(1 - year), Said::Fetch)]);
}

#[test]
fn unknown_keys_are_looked_for_at_once_and_then_more_and_more_seldom() {
    let mut cached = fetched(None);
    let mut moment = 0;
    assert!(cached.misses(at(moment)));
    for wait in [1, 2, 4, 8, 16, 30, 30, 30] {
        moment += wait;
        assert!(!cached.misses(before(moment)), "{moment}");
        assert!(cached.misses(at(moment)), "{moment}");
    }
    assert!(cached.misses(at(10)), "the clock was set back");
    assert!(!cached.misses(at(11)));
}

#[test]
fn unknown_keys_are_looked_for_sooner_after_a_quiet_time() {
    let mut cached = fetched(None);
    for moment in [0, 1, 3, 7, 15] {
        assert!(cached.misses(at(moment)));
    }
    // Three cooldowns without one: as if there had been two so far.
    assert!(cached.misses(at(105)));
    assert!(!cached.misses(before(109)));
    assert!(cached.misses(at(109)));
    assert!(cached.misses(at(1000)), "as at first");
    assert!(cached.misses(at(1001)));
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
        let (mut cached, mut model, mut now) = (Cached::default(), Model::default(), 0);
        let moment = |now: i64| Timestamp::from_micros(NOW.micros() + now);
        for event in events {
            match event {
                Event::Pass(micros) => now += micros,
                Event::Fetched(set, max_age) => {
                    cached.fetched(set, max_age.map(Span::from_seconds), moment(now), &limits);
                    let ttl = (NOW + limits.ttl).micros() - NOW.micros();
                    let life = max_age.map_or(ttl, |age| (age.max(60) * 1_000_000).min(ttl));
                    model = Model { held: Some((set, now, life)), failures: Vec::new() };
                }
                Event::Failed => {
                    cached.failed(moment(now));
                    model.failures.push(now);
                }
            }
            prop_assert_eq!(cached.step(moment(now), &limits), model.step(now, &limits));
            prop_assert_eq!(cached.state.has_failed(), !model.failures.is_empty());
        }
    }

    #[test]
    fn a_failed_fetch_never_takes_keys_away(age in 0..86_400_i64, failures in 1..20_usize) {
        let mut cached = fetched(None);
        for _ in 0..failures {
            cached.failed(at(age));
        }
        prop_assert!(matches!(cached.step(at(age), &limits()), Said::Use(0)));
    }

    #[test]
    fn fetches_are_bounded_however_often_keys_are_needed(
        passes in prop::collection::vec(0..2_000_i64, 1..400),
        unknown in any::<bool>(),
    ) {
        // Every fetch fails, which is the worst case, or every token has an unknown key.
        let (mut cached, mut now, mut fetches) = (Cached::default(), NOW, 0);
        for millis in passes {
            now = now + Span::from_millis(millis);
            if unknown {
                fetches += i64::from(cached.misses(now));
            } else if cached.step(now, &limits()) == Said::Fetch {
                fetches += 1;
                cached.failed(now);
            }
        }
        // Waits of 1, 2, 4, 8 and 16 s come before those of the cooldown.
        prop_assert!(fetches <= 6 + now.since(NOW).seconds() / 30, "{} in {}", fetches, now.since(NOW));
    }
}

fn due(state: &Freshness, now: Timestamp) -> Timestamp {
    state.due(now, &limits(), Upkeep::Unasked)
}

#[test]
fn a_process_that_fetches_unasked_begins_at_once_and_then_keeps_to_the_life_of_its_keys() {
    let mut restored = Freshness::default();
    assert_eq!(due(&restored, at(0)), at(0));
    restored.restored(at(0), limits().ttl);
    assert_eq!(due(&restored, at(5)), at(5), "stored keys do not hold up the first fetch");
    let held = fetched(None).state;
    assert_eq!(due(&held, at(5)), at(HOUR * 4 / 5));
    assert!(held.is_fresh(at(0), &limits()) && held.is_fresh(before(HOUR), &limits()));
    assert!(!held.is_fresh(at(HOUR), &limits()) && !Freshness::default().is_fresh(at(0), &limits()));
}

#[test]
fn a_process_that_fetches_unasked_takes_up_to_5_percent_off_and_others_nothing() {
    for (micros, early) in [(0, 0), (500, 90), (999, 180)] {
        let mut state = Freshness::default();
        let begun = Timestamp::from_micros(NOW.micros() + micros);
        state.fetched(begun, None, &limits());
        let refresh = |upkeep| state.due(begun, &limits(), upkeep).since(begun).seconds();
        assert_eq!((refresh(Upkeep::Unasked), refresh(Upkeep::OnUse)), (2880 - early, 2880), "{micros}");
    }
}

#[test]
fn a_process_that_fetches_unasked_does_so_when_the_clock_was_set_back() {
    let mut held = fetched(None).state;
    assert!(!held.is_fresh(before(0), &limits()));
    // Once at once, although nothing is due by the former clock for a day; and if that brings nothing, again and again.
    let now = at(-24 * HOUR);
    assert_eq!(due(&held, now), now);
    let mut failing = held;
    for wait in [1, 2, 4, 8, 16, 30, 30] {
        failing.failed(now);
        assert_eq!(due(&failing, now), now + Span::from_seconds(wait));
    }
    held.fetched(now, None, &limits());
    assert!(held.is_fresh(now, &limits()));
    assert_eq!(due(&held, now), now + Span::from_seconds(HOUR * 4 / 5));
}

/// What somebody does beside whom a worker fetches.
fn beside_worker(state: &Freshness, now: Timestamp) -> Step {
    state.step(now, &limits(), Upkeep::Unasked)
}

#[test]
fn beside_a_worker_one_waits_if_keys_are_missing_or_overdue_and_a_fetch_is_due() {
    let held = fetched(None).state;
    for (now, expected) in
        [(0, Step::Use), (3500, Step::Use), (HOUR - 1, Step::Use), (HOUR, Step::Fetch), (30 * HOUR, Step::Fetch)]
    {
        assert_eq!(beside_worker(&held, at(now)), expected, "{now}");
    }
    // The worker has tried since, and tries again by itself.
    let mut tried = held;
    tried.failed(at(HOUR + 50));
    for (now, expected) in [(HOUR + 50, Step::Use), (HOUR + 60, Step::Use), (25 * HOUR, Step::Unavailable)] {
        assert_eq!(beside_worker(&tried, at(now)), expected, "{now}");
    }
    let mut without = Freshness::default();
    assert_eq!(beside_worker(&without, at(0)), Step::Fetch);
    without.failed(at(0));
    assert_eq!(beside_worker(&without, before(1)), Step::Unavailable);
    assert_eq!(beside_worker(&without, at(1)), Step::Fetch);
}

#[test]
fn beside_a_worker_one_waits_for_keys_if_the_clock_was_set_back_and_only_if_there_are_none() {
    let mut without = Freshness::default();
    without.failed(at(0));
    assert_eq!(beside_worker(&without, at(-1)), Step::Fetch);
    assert_eq!(beside_worker(&fetched(None).state, at(-1)), Step::Use);
}

#[test]
fn keys_serve_until_they_are_too_stale_in_either_direction() {
    let held = fetched(None).state;
    let day = 24 * HOUR;
    for (now, expected) in
        [(at(0), true), (before(day), true), (at(day), false), (at(1 - day), true), (at(-day), false)]
    {
        assert_eq!(held.serves(now, &limits()), expected, "{}", now.since(NOW));
    }
    assert_eq!(held.serves_until(&limits()), Some(at(day)));
    let long = Limits { ttl: Span::from_seconds(100_000), ..limits() };
    let mut held = Freshness::default();
    held.fetched(NOW, None, &long);
    assert!(held.serves(before(100_000), &long) && !held.serves(at(100_000), &long));
    assert!(!Freshness::default().serves(NOW, &limits()));
    assert_eq!(Freshness::default().serves_until(&limits()), None);
}

#[test]
fn restored_keys_serve_no_longer_than_the_present_settings_allow() {
    let mut state = Freshness::default();
    state.restored(NOW, Span::from_seconds(1_000 * HOUR));
    assert!(state.serves(before(24 * HOUR), &limits()) && !state.serves(at(24 * HOUR), &limits()));
    assert_eq!(state.expires(&limits()), Some(at(HOUR)));
}

#[test]
fn a_source_that_is_gone_for_good_is_worth_fewer_and_fewer_lines() {
    let mut freshness = Freshness::NEW;
    assert!(!freshness.is_notable_failure());
    let mut lines = Vec::new();
    for failure in 1..=1000 {
        freshness.failed(Timestamp::from_seconds(failure));
        if freshness.is_notable_failure() {
            lines.push(failure);
        }
    }
    assert_eq!(lines, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]);
    freshness.fetched(Timestamp::from_seconds(1001), None, &limits());
    assert_eq!((freshness.failures(), freshness.is_notable_failure()), (0, false));
}

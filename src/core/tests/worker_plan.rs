//! What the worker does for a source: single decisions, and whole lives of it against a provider that fails, hangs and
//! comes back.

mod common;

use common::*;
use pg_jwks_core::cache::freshness::{Freshness, Limits};
use pg_jwks_core::cache::worker_plan::{Action, Event, Fetch, NAP, Request, Situation, Want, plan};
use pg_jwks_core::time::{Span, Timestamp};
use proptest::prelude::*;

const LIMITS: Limits =
    Limits { ttl: Span::from_seconds(3600), cooldown: Span::from_seconds(30), max_stale: Span::from_seconds(86_400) };

/// How long a fetch may take.
const BOUND: Span = Span::from_seconds(5);

fn at(seconds: i64) -> Timestamp {
    NOW + Span::from_seconds(seconds)
}

/// Nobody uses the source, nothing is asked for, and nothing is under way.
fn idle() -> Situation {
    Situation { freshness: Freshness::default(), limits: LIMITS, in_use: false, request: None, fetch: None }
}

/// Fetched at 0, for an hour.
fn held() -> Situation {
    let mut freshness = Freshness::default();
    freshness.fetched(at(0), None, &LIMITS);
    Situation { freshness, in_use: true, ..idle() }
}

fn asked(number: u64, want: Want) -> Option<Request> {
    Some(Request { number, want })
}

/// Begun at 0 for the requests up to 3.
fn fetch() -> Fetch {
    Fetch { begun: at(0), deadline: at(0) + BOUND, answers: 3, for_unknown_key: false, overdue: false }
}

fn overdue() -> Fetch {
    Fetch { overdue: true, ..fetch() }
}

fn begin(answers: u64) -> Action {
    Action::Begin { answers, for_unknown_key: false }
}

#[track_caller]
fn assert_plan(situation: Situation, now: i64, expected: Action) {
    assert_eq!(plan(&situation, Event::Nothing, at(now)), expected);
}

#[test]
fn a_source_in_use_is_fetched_unasked_and_another_is_left_alone() {
    assert_plan(Situation { in_use: true, ..idle() }, 0, begin(0));
    assert_plan(idle(), 0, Action::Sleep(at(0) + NAP));
    assert_plan(held(), 100, Action::Sleep(at(2880)));
    assert_plan(held(), 2880, begin(0));
    assert_plan(Situation { in_use: false, ..held() }, 5000, Action::Sleep(at(5000) + NAP));
}

#[test]
fn a_request_for_keys_is_answered_if_they_are_fresh_and_fetched_for_if_not() {
    let asking = |situation| Situation { request: asked(7, Want::Keys), ..situation };
    assert_plan(asking(held()), 100, Action::Answer(7));
    assert_plan(asking(idle()), 0, begin(7));
    assert_plan(asking(Situation { in_use: false, ..held() }), 5000, begin(7));
}

#[test]
fn a_request_for_keys_waits_for_the_fetch_that_is_under_way() {
    let asking = Situation { request: asked(7, Want::Keys), fetch: Some(fetch()), ..idle() };
    assert_plan(asking, 1, Action::Sleep(at(5)));
    let fresh = Situation { request: asked(7, Want::Keys), fetch: Some(fetch()), ..held() };
    assert_plan(fresh, 1, Action::Answer(7));
    let newer = Situation { request: asked(7, Want::Newer), fetch: Some(fetch()), ..held() };
    assert_plan(newer, 1, Action::Sleep(at(5)));
}

#[test]
fn a_request_is_answered_in_vain_while_a_failure_is_fresh() {
    let mut failing = idle();
    failing.freshness.failed(at(0));
    failing.request = asked(7, Want::Keys);
    assert_plan(failing, 0, Action::Answer(7));
    assert_plan(failing, 1, begin(7));
}

#[test]
fn a_request_for_newer_keys_keeps_to_its_wait_and_one_for_keys_now_does_not() {
    let newer = Situation { request: asked(7, Want::Newer), ..held() };
    assert_plan(newer, 1, Action::Begin { answers: 7, for_unknown_key: true });
    let mut quiet = newer;
    quiet.freshness.missed(at(1), &LIMITS);
    quiet.freshness.missed(at(2), &LIMITS);
    assert_plan(quiet, 3, Action::Answer(7));
    assert_plan(quiet, 4, Action::Begin { answers: 7, for_unknown_key: true });
    assert_plan(Situation { request: asked(7, Want::Now), ..quiet }, 3, begin(7));
    // What is due anyway serves those who ask, and is no look for an unknown key.
    quiet.freshness.missed(at(2880), &LIMITS);
    assert_plan(quiet, 2880, begin(7));
}

#[test]
fn a_fetch_that_ends_is_published_or_noted_as_failed() {
    let waiting = Situation { fetch: Some(fetch()), request: asked(7, Want::Keys), ..idle() };
    assert_eq!(plan(&waiting, Event::Succeeded, at(1)), Action::Publish(fetch()));
    assert_eq!(plan(&waiting, Event::Failed, at(1)), Action::NoteFailure(fetch()));
    // It ended in the moment in which it would have become overdue.
    assert_eq!(plan(&waiting, Event::Succeeded, at(5)), Action::Publish(fetch()));
    assert_eq!(plan(&waiting, Event::Failed, at(5)), Action::NoteFailure(fetch()));
}

#[test]
fn a_fetch_that_does_not_end_is_noted_once_and_has_no_other_beside_it() {
    let waiting = Situation { fetch: Some(fetch()), in_use: true, ..idle() };
    assert_plan(waiting, 4, Action::Sleep(at(5)));
    assert_plan(waiting, 5, Action::NoteOverdue(fetch()));
    let hanging = Situation { fetch: Some(overdue()), ..waiting };
    assert_plan(hanging, 500, Action::Sleep(at(500) + NAP));
    for want in [Want::Keys, Want::Newer, Want::Now] {
        assert_plan(Situation { request: asked(7, want), ..hanging }, 500, Action::Answer(7));
    }
    // What it brings at last is welcome, and its failure no news.
    assert_eq!(plan(&hanging, Event::Succeeded, at(900)), Action::Publish(overdue()));
    assert_eq!(plan(&hanging, Event::Failed, at(900)), Action::Forget);
}

#[test]
fn a_clock_that_was_set_back_causes_a_fetch() {
    assert_plan(held(), -86_400, begin(0));
    let asking = Situation { in_use: false, request: asked(7, Want::Keys), ..held() };
    assert_plan(asking, -86_400, begin(7));
}

/// The worker without its server: it does what the plan says.
struct Worker {
    situation: Situation,
    answered: u64,
    begun: u32,
    failures_noted: u32,
}

impl Worker {
    fn new() -> Self {
        Self { situation: Situation { in_use: true, ..idle() }, answered: 0, begun: 0, failures_noted: 0 }
    }

    /// One turn. Returns when the next one is.
    fn turn(&mut self, mut event: Event, now: Timestamp) -> Timestamp {
        for _ in 0..10 {
            match plan(&self.situation, event, now) {
                Action::Publish(fetch) => {
                    self.ended(fetch);
                    self.situation.freshness.fetched(fetch.begun, None, &LIMITS);
                }
                Action::NoteFailure(fetch) => {
                    self.ended(fetch);
                    self.failed(now);
                }
                Action::NoteOverdue(fetch) => {
                    self.ended(fetch);
                    self.situation.fetch = Some(Fetch { overdue: true, ..fetch });
                    self.failed(now);
                }
                Action::Forget => self.situation.fetch = None,
                Action::Begin { answers, for_unknown_key } => {
                    assert!(self.situation.fetch.is_none(), "one fetch at a time");
                    let deadline = now + BOUND;
                    let fetch = Fetch { begun: now, deadline, answers, for_unknown_key, overdue: false };
                    self.situation.fetch = Some(fetch);
                    self.begun += 1;
                }
                Action::Answer(number) => self.answer(number),
                Action::Sleep(until) => return until,
            }
            event = Event::Nothing;
        }
        panic!("the turn does not end: {:?}", self.situation);
    }

    fn ended(&mut self, fetch: Fetch) {
        self.situation.fetch = None;
        if fetch.for_unknown_key {
            self.situation.freshness.missed(fetch.begun, &LIMITS);
        }
        self.answer(fetch.answers);
    }

    fn failed(&mut self, now: Timestamp) {
        self.situation.freshness.failed(now);
        self.failures_noted += 1;
    }

    fn answer(&mut self, number: u64) {
        self.answered = self.answered.max(number);
        self.situation.request = self.situation.request.filter(|request| request.number > self.answered);
    }

    fn ask(&mut self, number: u64, want: Want) {
        self.situation.request = asked(number, want);
    }
}

#[test]
fn an_outage_is_met_with_retries_and_its_end_with_keys() {
    let (mut worker, mut now) = (Worker::new(), NOW);
    let mut waits = Vec::new();
    for _ in 0..8 {
        worker.turn(Event::Nothing, now);
        let next = worker.turn(Event::Failed, now);
        waits.push(next.since(now).seconds());
        now = next;
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30, 30]);
    worker.turn(Event::Nothing, now);
    let next = worker.turn(Event::Succeeded, now);
    assert_eq!(next.since(now).seconds(), 2880);
    assert_eq!((worker.begun, worker.failures_noted), (9, 8));
}

/// What can happen between two turns.
#[derive(Clone, Debug)]
enum Happening {
    Pass(i64),
    Ask(Want),
    Ends(bool),
    Use(bool),
}

fn happening() -> impl Strategy<Value = Happening> {
    let want = prop_oneof![Just(Want::Keys), Just(Want::Newer), Just(Want::Now)];
    prop_oneof![
        4 => prop_oneof![0..2_000_i64, 0..100_000_i64, -50_000..0_i64].prop_map(Happening::Pass),
        3 => want.prop_map(Happening::Ask),
        3 => any::<bool>().prop_map(Happening::Ends),
        1 => any::<bool>().prop_map(Happening::Use),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn nobody_waits_for_ever_and_turns_end(happenings in prop::collection::vec(happening(), 1..80)) {
        let (mut worker, mut now, mut asked) = (Worker::new(), NOW, 0);
        for happening in happenings {
            let mut event = Event::Nothing;
            match happening {
                Happening::Pass(millis) => now = now + Span::from_millis(millis),
                Happening::Ask(want) => {
                    asked += 1;
                    worker.ask(asked, want);
                }
                Happening::Ends(well) if worker.situation.fetch.is_some() => {
                    event = if well { Event::Succeeded } else { Event::Failed };
                }
                Happening::Ends(_) => {}
                Happening::Use(in_use) => worker.situation.in_use = in_use,
            }
            let next = worker.turn(event, now);
            prop_assert!(next > now, "it would not sleep");
            // Whoever asked is answered, or a fetch with a bound is under way for him.
            if worker.answered < asked {
                let fetch = worker.situation.fetch.expect("a fetch");
                prop_assert!(!fetch.overdue && next <= fetch.deadline);
            }
        }
        // At the latest when the fetch is overdue, all are answered.
        let end = worker.situation.fetch.map_or(now, |fetch| fetch.deadline.max(now));
        let next = worker.turn(Event::Nothing, end);
        if let Some(fetch) = worker.situation.fetch.filter(|fetch| !fetch.overdue) {
            worker.turn(Event::Nothing, fetch.deadline.max(next));
        }
        prop_assert_eq!(worker.answered, asked);
    }

    #[test]
    fn unknown_keys_cause_some_fetches_at_first_and_then_one_a_cooldown(passes in prop::collection::vec(0..2_000_i64, 1..300)) {
        let (mut worker, mut now) = (Worker::new(), NOW);
        worker.turn(Event::Nothing, now);
        worker.turn(Event::Succeeded, now);
        for (number, millis) in passes.into_iter().enumerate() {
            now = now + Span::from_millis(millis);
            worker.ask(number as u64 + 1, Want::Newer);
            worker.turn(Event::Nothing, now);
            if worker.situation.fetch.is_some() {
                worker.turn(Event::Succeeded, now);
            }
            prop_assert!(worker.situation.request.is_none(), "an answer at once");
        }
        prop_assert!(i64::from(worker.begun) <= 2 + 6 + now.since(NOW).seconds() / 30, "{}", worker.begun);
    }
}

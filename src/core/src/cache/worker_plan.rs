//! What the process that fetches keys for others does next for one source: a function from how things stand and what
//! has just happened to the next action.

use crate::cache::freshness::{Freshness, Limits, Upkeep};
use crate::time::{Span, Timestamp};

/// The longest sleep: a bound on what a lost wake-up or a clock that was set can cost.
pub const NAP: Span = Span::from_seconds(60);

/// The shortest sleep, so that what is due in the same moment is done together.
const BLINK: Span = Span::from_millis(10);

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Any keys.
    Keys,
    /// Newer keys than those that are there, subject to the cooldown.
    Newer,
    /// Newer keys, at once.
    Now,
}

/// The newest request that is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its number. Its answer is that of all requests before it.
    pub number: u64,
    /// What the open requests are about: the most demanding of them counts.
    pub want: Want,
}

/// A fetch that was begun and whose thread has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// When it was begun.
    pub begun: Timestamp,
    /// When it counts as failed. The thread has its own bounds; this one holds if a name server or a file system does
    /// not return.
    pub deadline: Timestamp,
    /// The newest request that it answers; 0 for none.
    pub answers: u64,
    /// Whether it was begun for a token whose key is unknown.
    pub for_unknown_key: bool,
    /// Whether it was reported as failed at its deadline. While its thread lives there is no other, so that a name
    /// server that hangs does not collect threads.
    pub overdue: bool,
}

/// How things stand with a source.
#[derive(Clone, Copy, Debug)]
pub struct Situation {
    /// Its keys.
    pub freshness: Freshness,
    /// The settings that rule their life.
    pub limits: Limits,
    /// Whether anybody needs them unasked.
    pub in_use: bool,
    /// What is asked for.
    pub request: Option<Request>,
    /// What is done for it.
    pub fetch: Option<Fetch>,
}

/// What has happened to the fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing.
    Nothing,
    /// It brought keys, or the word that those that are there still hold.
    Succeeded,
    /// It brought nothing.
    Failed,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The fetch has ended: publish what it brought, and answer those who waited for it.
    Publish(Fetch),
    /// The fetch has ended: note that it failed, and answer those who waited for it.
    NoteFailure(Fetch),
    /// The fetch has not ended in time: note that it failed, and answer those who waited for it.
    NoteOverdue(Fetch),
    /// The fetch has ended: nothing is left to note.
    Forget,
    /// Begin a fetch.
    Begin {
        /// The newest request that it answers; 0 for none.
        answers: u64,
        /// Whether a token whose key is unknown is the reason.
        for_unknown_key: bool,
    },
    /// Answer all requests up to this number.
    Answer(u64),
    /// Sleep until then, or until something happens.
    Sleep(Timestamp),
}

/// The next action. Whoever does it asks again, with [`Event::Nothing`], until there is nothing but to sleep.
pub fn plan(situation: &Situation, event: Event, now: Timestamp) -> Action {
    let Situation { freshness, limits, in_use, request, fetch } = situation;
    let due = freshness.due(now, limits, Upkeep::Unasked);
    match (fetch, event) {
        (Some(fetch), Event::Succeeded) => return Action::Publish(*fetch),
        (Some(fetch), Event::Failed) if fetch.overdue => return Action::Forget,
        (Some(fetch), Event::Failed) => return Action::NoteFailure(*fetch),
        (Some(fetch), Event::Nothing) if !fetch.overdue && now >= fetch.deadline => return Action::NoteOverdue(*fetch),
        (Some(_), Event::Nothing) | (None, _) => {}
    }
    if fetch.is_none() {
        let for_unknown_key = request.is_some_and(|request| request.want == Want::Newer)
            && freshness.may_fetch_for_unknown_key(now, limits);
        let wanted = request.is_some_and(|request| match request.want {
            Want::Now => true,
            Want::Newer => for_unknown_key,
            Want::Keys => now >= due,
        });
        if wanted || (*in_use && now >= due) {
            return Action::Begin { answers: request.map_or(0, |request| request.number), for_unknown_key };
        }
    }
    if let Some(request) = request {
        let waits = fetch.is_some_and(|fetch| !fetch.overdue);
        let served = request.want == Want::Keys && freshness.is_fresh(now, limits);
        if served || !waits {
            return Action::Answer(request.number);
        }
    }
    Action::Sleep(match fetch {
        Some(fetch) if !fetch.overdue => fetch.deadline,
        None if *in_use => due.max(now + BLINK),
        _ => now + NAP,
    })
}

//! One source as the worker tends it.

use std::io;
use std::os::unix::net::UnixStream;

use pg_jwks_core::cache::worker_plan::{Event, Fetch};
use pg_jwks_core::time::{Span, Timestamp};

use crate::keys::fetch::{Outcome, Validators};
use crate::keys::fetch_thread::{Fetching, Progress};
use crate::keys::source::KeySource;

/// What a thread may need beyond the bound of its fetch to end.
const MOMENT: Span = Span::from_millis(250);

/// A source, what its last answer said, and the fetch under way. The state of its keys is in shared memory.
pub struct Tended {
    pub source: KeySource,
    pub descriptor: String,
    pub validators: Validators,
    /// The fetch under way, and its thread.
    under_way: Option<(Fetch, Fetching)>,
}

impl Tended {
    /// The source of a descriptor; `None` if it is not one.
    pub fn of(descriptor: String) -> Option<Self> {
        let source = KeySource::from_descriptor(&descriptor)?;
        Some(Self { source, descriptor, validators: Validators::default(), under_way: None })
    }

    /// The fetch under way.
    pub fn fetch(&self) -> Option<Fetch> {
        self.under_way.as_ref().map(|(fetch, _)| *fetch)
    }

    /// What has happened to the fetch under way, and what it brought or why it brought nothing.
    pub fn progress(&mut self) -> (Event, Option<Result<Outcome, String>>) {
        match self.under_way.as_mut().map(|(_, fetching)| fetching.progress()) {
            None | Some(Progress::UnderWay) => (Event::Nothing, None),
            Some(Progress::Done(ended)) => match ended.result {
                Ok(outcome) => (Event::Succeeded, Some(Ok(outcome))),
                Err(error) => (Event::Failed, Some(Err(error))),
            },
        }
    }

    /// Begins a fetch, which rings the bell when it is done.
    pub fn begin(&mut self, answers: u64, for_unknown_key: bool, bell: &UnixStream, now: Timestamp) -> io::Result<()> {
        let known = (self.validators.clone(), bell.try_clone()?);
        let fetching = Fetching::begin(self.source.clone(), now, Some(known))?;
        let bound = i64::try_from(self.source.fetch_timeout().as_millis()).map_or(Span::ZERO, Span::from_millis);
        let deadline = now + bound + MOMENT;
        self.under_way = Some((Fetch { begun: now, deadline, answers, for_unknown_key, overdue: false }, fetching));
        Ok(())
    }

    /// The fetch did not end in time.
    pub fn set_overdue(&mut self) {
        if let Some((fetch, _)) = &mut self.under_way {
            fetch.overdue = true;
        }
    }

    /// The fetch has ended.
    pub fn set_ended(&mut self) {
        self.under_way = None;
    }
}

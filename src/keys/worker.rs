//! The background worker `pg_jwks keys`: all the network I/O of the cluster.

mod tended;

use std::collections::{HashMap, HashSet};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use pg_jwks_core::cache::freshness::Freshness;
use pg_jwks_core::cache::slots::{Owner, Published, SlotId};
use pg_jwks_core::cache::stored::Stored;
use pg_jwks_core::cache::worker_plan::{Action, Event, Fetch, NAP, Situation, plan};
use pg_jwks_core::jose::jwks::KeySet;
use pg_jwks_core::time::{Span, Timestamp};
use pgrx::bgworkers::{BackgroundWorker, BackgroundWorkerBuilder, BgWorkerStartTime, SignalWakeFlags};
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::disk;
use super::fetch::{Fetched, Outcome};
use super::location::Location;
use super::shared::{Shared, shared};
use super::source::KeySource;
use crate::pg::{clock, memory};
use crate::settings;
use crate::telemetry::counters::{count, counters};
use tended::Tended;

/// After this time the postmaster starts the worker again when it ended.
const RESTART: Duration = Duration::from_secs(1);

/// Fetches at once; of keys for which nobody waits, half as many: a thousand issuers that are slow to answer must not hold up
/// the one that a login waits for.
const MAX_FETCHES: usize = 16;

/// While more are due. The end of each fetch wakes the worker too.
const BUSY_NAP: Span = Span::from_millis(100);

/// A source that no backend has used for this long, and that the server's own settings do not name, is left alone.
const IDLE: Span = Span::from_seconds(3600);

/// Registers the worker; called while the postmaster loads the library. It runs wherever sessions do, standbys
/// included.
pub fn register() {
    BackgroundWorkerBuilder::new("pg_jwks keys")
        .set_type("pg_jwks keys")
        .set_library("pg_jwks")
        .set_function("pg_jwks_keys_main")
        .enable_spi_access()
        .set_start_time(BgWorkerStartTime::ConsistentState)
        .set_restart_time(Some(RESTART))
        .load();
}

/// The worker's main function.
#[doc(hidden)]
#[unsafe(no_mangle)]
#[pg_guard]
pub extern "C-unwind" fn pg_jwks_keys_main(_argument: pg_sys::Datum) {
    BackgroundWorker::attach_signal_handlers(SignalWakeFlags::SIGHUP | SignalWakeFlags::SIGTERM);
    // Without a database; only what is connected is in pg_stat_activity.
    BackgroundWorker::connect_worker_to_spi(None, None);
    let Some(shared) = shared() else { return };
    let (bell, ring) = match UnixStream::pair() {
        Ok(pair) => pair,
        // An error ends the worker, and the postmaster starts it again.
        Err(error) => error!("pg_jwks: no sockets for the worker: {error}"),
    };
    // SAFETY: MyLatch is this process's latch in shared memory, where it stays when the process has ended. `ended` has
    // the type of an exit callback, and its library is never unloaded. The context is a child of TopMemoryContext that
    // nobody deletes, so it can be the current one for the life of this process.
    let context = unsafe {
        shared.set_worker(pg_sys::MyLatch);
        pg_sys::before_shmem_exit(Some(ended), pg_sys::Datum::from(0));
        let context = pg_sys::AllocSetContextCreateExtended(
            pg_sys::TopMemoryContext,
            c"pg_jwks keys".as_ptr(),
            0,
            pg_sys::ALLOCSET_DEFAULT_INITSIZE as usize,
            pg_sys::ALLOCSET_DEFAULT_MAXSIZE as usize,
        );
        pg_sys::MemoryContextSwitchTo(context);
        context
    };
    let mut worker = Worker { shared, ring, tended: HashMap::new(), configured: HashSet::new(), settings_read: false };
    loop {
        if BackgroundWorker::sigterm_received() {
            // With any other status than 1 the postmaster would not start the worker again (bgworker.c).
            // SAFETY: runs the exit callbacks and ends the process; nothing that they use is borrowed here.
            unsafe { pg_sys::proc_exit(1) };
        }
        if BackgroundWorker::sighup_received() {
            // SAFETY: called between turns, so nothing points to the value of a setting that this replaces.
            unsafe { pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP) };
            worker.settings_read = false;
        }
        let nap = match memory::is_exhausted(0) {
            true => NAP,
            false => worker.turn(clock::now()),
        };
        // SAFETY: the context lives as long as the process. All that a turn has PostgreSQL allocate in it is log lines,
        // which nobody keeps.
        unsafe { pg_sys::MemoryContextReset(context) };
        sleep(&bell, nap);
    }
}

/// Called when the worker ends, however it does, but for a crash.
extern "C-unwind" fn ended(_code: i32, _argument: pg_sys::Datum) {
    if let Some(shared) = shared() {
        shared.set_worker(std::ptr::null_mut());
    }
}

fn sleep(bell: &UnixStream, nap: Span) {
    let _ = bell.set_nonblocking(true);
    let events = pg_sys::WL_LATCH_SET | pg_sys::WL_SOCKET_READABLE | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
    // SAFETY: MyLatch is this process's own from its start to its end, and `bell` keeps the descriptor open during the
    // calls.
    unsafe {
        pg_sys::WaitLatchOrSocket(
            pg_sys::MyLatch,
            events as i32,
            bell.as_raw_fd(),
            (nap.micros() / 1000).max(1),
            pg_sys::PG_WAIT_EXTENSION,
        );
        pg_sys::ResetLatch(pg_sys::MyLatch);
    }
    pgrx::check_for_interrupts!();
    let _ = std::io::Read::read(&mut &*bell, &mut [0; 64]);
}

struct Worker {
    shared: Shared,
    ring: UnixStream,
    tended: HashMap<SlotId, Tended>,
    /// The descriptors of the server's own settings.
    configured: HashSet<String>,
    settings_read: bool,
}

impl Worker {
    /// Does what is due, and returns how long nothing will be.
    fn turn(&mut self, now: Timestamp) -> Span {
        if !self.settings_read {
            self.read_settings(now);
        }
        let slots = self.shared.slots();
        let given: HashSet<SlotId> = slots.iter().map(|(id, _)| *id).collect();
        self.tended.retain(|id, _| given.contains(id));
        let mut next = now + NAP;
        for (id, descriptor) in slots {
            self.shared.last_used(id).bound(now);
            if let Some(mut tended) = self.tended.remove(&id).or_else(|| self.taken_over(id, descriptor, now)) {
                next = next.min(self.tend(id, &mut tended, now));
                self.tended.insert(id, tended);
            }
        }
        next.since(now)
    }

    /// Gives each source of the server's own settings a slot, so that it is fetched before anybody asks.
    fn read_settings(&mut self, now: Timestamp) {
        self.settings_read = true;
        let settings = settings::current();
        let providers = settings.providers.as_ref().map_or(&[][..], |providers| providers.all());
        let fetched = providers.iter().filter(|provider| Location::of(&provider.source).is_some());
        let sources: Vec<_> = fetched.filter_map(|provider| KeySource::of(provider, &settings).ok()).collect();
        let given = |source: &&KeySource| self.shared.slot(&source.descriptor(), Owner::SERVER, IDLE, now).is_some();
        let (_, without): (Vec<_>, Vec<_>) = sources.iter().partition(given);
        if let Some(first) = without.first() {
            let (location, others) = (&first.location, without.len() - 1);
            warning!(
                "pg_jwks: no slot of the shared key cache is free for {location}, nor for {others} other source(s); raise \
                 pg_jwks.max_key_sources"
            );
        }
        let configured = sources.iter().map(KeySource::descriptor).collect();
        // Sources that the settings no longer name are fetched again only if a backend uses them from now on.
        let former = std::mem::replace(&mut self.configured, configured);
        let gone =
            |tended: &Tended| former.contains(&tended.descriptor) && !self.configured.contains(&tended.descriptor);
        for (id, _) in self.tended.iter().filter(|(_, tended)| gone(tended)) {
            self.shared.last_used(*id).forget();
        }
    }

    /// Takes a slot over. If an earlier worker left no keys in shared memory, those on disk are published.
    fn taken_over(&self, id: SlotId, descriptor: String, now: Timestamp) -> Option<Tended> {
        let tended = Tended::of(descriptor)?;
        let (freshness, _) = self.shared.state(id)?;
        if freshness.fetched_at().is_none() {
            match disk::load(&tended.source) {
                Ok(None) => {}
                Ok(Some(stored)) => self.restore(id, &tended.source, freshness, &stored, now),
                Err(problem) => log!("pg_jwks: {problem}"),
            }
        }
        Some(tended)
    }

    fn restore(&self, id: SlotId, source: &KeySource, mut freshness: Freshness, stored: &Stored, now: Timestamp) {
        freshness.restored(stored.fetched, stored.life);
        if now < stored.fetched || !freshness.serves(now, &source.limits()) {
            log!("pg_jwks: stored keys of {} are ignored: they are too old, or from the future", source.location);
            return;
        }
        if KeySet::parse(&stored.document, source.location.trust()).is_ok()
            && self.shared.publish(id, &stored.document, freshness) == Published::Yes
        {
            log!("pg_jwks: using stored keys of {}, fetched {} ago", source.location, now.since(stored.fetched));
        }
    }

    /// Does what is due for one source, and returns when something will be next.
    fn tend(&self, id: SlotId, tended: &mut Tended, now: Timestamp) -> Timestamp {
        let configured = self.configured.contains(&tended.descriptor);
        if configured {
            self.shared.last_used(id).touch(now);
        }
        let in_use = configured || self.shared.last_used(id).moment() > now - IDLE;
        let (mut event, mut result) = tended.progress();
        // The slot can go to another source meanwhile.
        while let Some((freshness, request)) = self.shared.state(id) {
            let limits = tended.source.limits();
            let situation = Situation { freshness, limits, in_use, request, fetch: tended.fetch() };
            match plan(&situation, event, now) {
                Action::Sleep(until) => return until,
                Action::Begin { .. } if self.is_busy(request.is_some()) => return now + BUSY_NAP,
                action => self.act(id, tended, freshness, action, result.take(), now),
            }
            event = Event::Nothing;
        }
        now + NAP
    }

    /// Whether as many fetches are under way as there may be. Those that hang do not count.
    fn is_busy(&self, is_awaited: bool) -> bool {
        let is_under_way = |tended: &&Tended| tended.fetch().is_some_and(|fetch| !fetch.overdue);
        let under_way = self.tended.values().filter(is_under_way).count();
        under_way >= if is_awaited { MAX_FETCHES } else { MAX_FETCHES / 2 }
    }

    /// Does an action for one source.
    fn act(
        &self,
        id: SlotId,
        tended: &mut Tended,
        freshness: Freshness,
        action: Action,
        result: Option<Result<Outcome, String>>,
        now: Timestamp,
    ) {
        match action {
            Action::Sleep(_) => {}
            Action::Answer(number) => self.shared.answer(id, number),
            Action::Forget => tended.set_ended(),
            Action::Begin { answers, for_unknown_key } => {
                if let Err(error) = tended.begin(answers, for_unknown_key, &self.ring, now) {
                    self.note_failure(id, tended, freshness, &format!("No thread could be started: {error}."), now);
                    self.shared.answer(id, answers);
                }
            }
            Action::NoteOverdue(fetch) => {
                tended.set_overdue();
                self.take_in(id, tended, freshness, fetch, Err("The fetch took too long.".into()), now);
            }
            Action::Publish(fetch) | Action::NoteFailure(fetch) => {
                tended.set_ended();
                if let Some(result) = result {
                    self.take_in(id, tended, freshness, fetch, result, now);
                }
            }
        }
    }

    /// Takes in the result of a fetch, and answers those who waited for it.
    fn take_in(
        &self,
        id: SlotId,
        tended: &mut Tended,
        mut freshness: Freshness,
        fetch: Fetch,
        result: Result<Outcome, String>,
        now: Timestamp,
    ) {
        if fetch.for_unknown_key {
            freshness.missed(fetch.begun, &tended.source.limits());
        }
        let published = result.and_then(|outcome| self.publish(id, tended, freshness, outcome, fetch.begun));
        if let Err(error) = published {
            self.note_failure(id, tended, freshness, &error, now);
        }
        count(&counters().fetches);
        self.shared.answer(id, fetch.answers);
    }

    /// Publishes what a fetch brought, and stores it on disk. The error is a full sentence.
    fn publish(
        &self,
        id: SlotId,
        tended: &mut Tended,
        mut freshness: Freshness,
        outcome: Outcome,
        begun: Timestamp,
    ) -> Result<(), String> {
        let limits = tended.source.limits();
        let (document, max_age, validators) = match outcome {
            Outcome::Fetched(Fetched { keys, document, max_age, validators }) => {
                for skipped in keys.skipped() {
                    debug1!("pg_jwks: a key of {} is not used: {}", tended.source.location, skipped.why);
                }
                (document, max_age, validators)
            }
            Outcome::Unchanged(max_age) => {
                let validators = std::mem::take(&mut tended.validators);
                let Some((_, document)) = self.shared.contents(id, 0) else { return Ok(()) };
                (document.ok_or("The answer confirms keys that are not there.")?, max_age, validators)
            }
        };
        if freshness.has_failed() {
            let (location, failures) = (&tended.source.location, freshness.failures());
            log!("pg_jwks: keys are had again from {location}, after {failures} failure(s)");
        }
        freshness.fetched(begun, max_age, &limits);
        match self.shared.publish(id, &document, freshness) {
            Published::Gone => return Ok(()),
            Published::TooLarge => {
                return Err("The keys do not fit in shared memory; raise pg_jwks.shared_cache_size.".into());
            }
            Published::Yes => tended.validators = validators,
        }
        let life = freshness.life(&limits).unwrap_or_default();
        if let Err(error) = disk::save(&tended.source, &Stored { document, fetched: begun, life }) {
            warning!("pg_jwks: the keys of {} could not be stored: {error}", tended.source.location);
        }
        Ok(())
    }

    fn note_failure(&self, id: SlotId, tended: &Tended, mut freshness: Freshness, error: &str, now: Timestamp) {
        count(&counters().fetch_failures);
        freshness.failed(now);
        if freshness.is_notable_failure() {
            let (location, failures) = (&tended.source.location, freshness.failures());
            log!("pg_jwks: keys could not be had from {location}, {failures} time(s) in a row: {error}");
        }
        self.shared.note(id, freshness, error);
    }
}

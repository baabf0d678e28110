//! The background worker `pg_jwks keys`: all the network I/O of the cluster.

mod entry;

use std::collections::HashMap;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use pg_jwks_core::cache::freshness::CachedKeys;
use pg_jwks_core::jose::jwks::KeySet;
use pg_jwks_core::time::{Span, Timestamp};
use pgrx::bgworkers::{BackgroundWorker, BackgroundWorkerBuilder, BgWorkerStartTime, SignalWakeFlags};
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::disk::{self, Stored};
use super::fetch::{Fetched, Outcome, Validators};
use super::location::{Location, Origin};
use super::shared::{Published, Shared, SlotId, Want, shared};
use super::wait::{Fetching, Progress};
use crate::pg::clock;
use crate::settings;
use crate::telemetry::counters::{count, counters};
use entry::{Entry, Underway};

/// After this time the postmaster starts the worker again when it ended.
const RESTART: Duration = Duration::from_secs(1);

/// The longest sleep: a bound on what a lost wake-up or a clock that was set can cost.
const NAP: Span = Span::from_seconds(60);

/// An origin that no backend has used for this long, and that the server's own settings do not name, is left alone.
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
    // SAFETY: MyLatch is this process's latch in shared memory. The context is this process's own and is never deleted.
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
    let mut worker = Worker { shared, ring, entries: HashMap::new(), configured: Vec::new(), settings_read: false };
    loop {
        if BackgroundWorker::sigterm_received() {
            // With any other status than 1 the postmaster would not start the worker again (bgworker.c).
            // SAFETY: ends the process as PostgreSQL prescribes.
            unsafe { pg_sys::proc_exit(1) };
        }
        if BackgroundWorker::sighup_received() {
            // SAFETY: outside of a transaction, as in any background process.
            unsafe { pg_sys::ProcessConfigFile(pg_sys::GucContext::PGC_SIGHUP) };
            worker.settings_read = false;
        }
        let nap = worker.turn(clock::now());
        // SAFETY: what a turn allocates in it (log lines) it does not keep.
        unsafe { pg_sys::MemoryContextReset(context) };
        sleep(&bell, nap);
    }
}

/// Called when the worker ends, however it does, but for a crash.
unsafe extern "C-unwind" fn ended(_code: i32, _argument: pg_sys::Datum) {
    if let Some(shared) = shared() {
        shared.set_worker(std::ptr::null_mut());
    }
}

fn sleep(bell: &UnixStream, nap: Span) {
    let _ = bell.set_nonblocking(true);
    let events = pg_sys::WL_LATCH_SET | pg_sys::WL_SOCKET_READABLE | pg_sys::WL_TIMEOUT | pg_sys::WL_EXIT_ON_PM_DEATH;
    // SAFETY: the latch is this process's own and the socket is open.
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
    entries: HashMap<SlotId, Entry>,
    /// The descriptors of the server's own settings.
    configured: Vec<String>,
    settings_read: bool,
}

impl Worker {
    /// Does what is due, and returns how long nothing will be.
    fn turn(&mut self, now: Timestamp) -> Span {
        if !self.settings_read {
            self.read_settings(now);
        }
        let slots = self.shared.slots();
        self.entries.retain(|id, _| slots.iter().any(|(slot, _)| slot == id));
        let mut next = now + NAP;
        for (id, descriptor) in slots {
            self.shared.bound_use(id, now);
            if let Some(mut entry) = self.entries.remove(&id).or_else(|| self.opened(id, descriptor, now)) {
                next = next.min(self.tend(id, &mut entry, now));
                self.entries.insert(id, entry);
            }
        }
        next.since(now)
    }

    /// Gives each source of the server's own settings a slot, so that it is fetched before anybody asks.
    fn read_settings(&mut self, now: Timestamp) {
        self.settings_read = true;
        let settings = settings::current();
        let providers = settings.providers.as_ref().map_or(&[][..], |providers| providers.all());
        let origins = providers.iter().filter_map(|provider| Location::of(&provider.source));
        let usable =
            origins.filter(|location| location.insecure_url().is_none() || settings.network.allow_insecure_http);
        let configured: Vec<_> = usable.map(|location| Origin::new(location, &settings).descriptor()).collect();
        for descriptor in &configured {
            if self.shared.slot(descriptor, IDLE, now).is_none() {
                warning!("pg_jwks: no slot of the shared key cache is free for {descriptor}");
            }
        }
        // Sources that the settings no longer name are fetched again only where a backend uses them from now on.
        let former = std::mem::replace(&mut self.configured, configured);
        let gone = |entry: &Entry| former.contains(&entry.descriptor) && !self.configured.contains(&entry.descriptor);
        self.entries.iter().filter(|(_, entry)| gone(entry)).for_each(|(id, _)| self.shared.forget_use(*id));
    }

    /// Takes a slot over: from shared memory where an earlier worker left keys, or else from disk.
    fn opened(&self, id: SlotId, descriptor: String, now: Timestamp) -> Option<Entry> {
        let origin = Origin::from_descriptor(&descriptor)?;
        let mut cached = CachedKeys::default();
        let (state, document) = self.shared.state(id, 0)?;
        match document {
            Some(document) => {
                if let Ok(keys) = KeySet::parse(&document, origin.location.trust()) {
                    let (fetched, life) = (Timestamp::from_micros(state.fetched), Span::from_micros(state.life));
                    cached.restored(Arc::new(keys), fetched, life);
                }
            }
            None => match disk::load(&origin) {
                Ok(None) => {}
                Ok(Some(stored)) => self.restore(id, &origin, &mut cached, stored, now),
                Err(problem) => log!("pg_jwks: {problem}"),
            },
        }
        Some(Entry {
            origin,
            descriptor,
            cached,
            validators: Validators::default(),
            attempted: state.attempted,
            quiet_until: state.quiet_until,
            fetching: None,
        })
    }

    fn restore(&self, id: SlotId, origin: &Origin, cached: &mut CachedKeys, stored: Stored, now: Timestamp) {
        let fetched = Timestamp::from_micros(stored.fetched);
        let limit = origin.limits().max_stale.max(Span::from_micros(stored.life));
        if now >= fetched + limit || now < fetched {
            log!("pg_jwks: stored keys of {} are ignored: they are too old, or from the future", origin.location);
            return;
        }
        if let Ok(keys) = KeySet::parse(&stored.document, origin.location.trust())
            && self.shared.publish(id, &stored.document, stored.fetched, stored.life) == Published::Yes
        {
            log!("pg_jwks: using stored keys of {}, fetched {} ago", origin.location, now.since(fetched));
            cached.restored(Arc::new(keys), fetched, Span::from_micros(stored.life));
        }
    }

    /// Does what is due for one origin, and returns when something will be next.
    fn tend(&self, id: SlotId, entry: &mut Entry, now: Timestamp) -> Timestamp {
        self.harvest(id, entry, now);
        let configured = self.configured.contains(&entry.descriptor);
        if configured {
            self.shared.touch(id, now);
        }
        let in_use = configured || self.shared.last_used(id) > (now - IDLE).micros();
        let request = self.shared.open_request(id);
        if entry.fetching.is_none() {
            let wanted = request.as_ref().is_some_and(|request| entry.wants_fetch(request, now));
            if wanted || (in_use && now >= entry.due(now)) {
                self.begin(id, entry, request.as_ref().map_or(0, |request| request.number), now);
            }
        }
        if let Some(request) = request {
            let waits = entry.fetching.as_ref().is_some_and(|underway| !underway.overdue);
            let served = request.want == Want::Keys && entry.is_fresh(now);
            if served || !waits {
                self.shared.answer(id, request.number);
            }
        }
        match &entry.fetching {
            // The bell rings when it is done.
            Some(underway) if !underway.overdue => entry.deadline(),
            None if in_use => entry.due(now).max(now + Span::from_millis(10)),
            _ => now + NAP,
        }
    }

    fn begin(&self, id: SlotId, entry: &mut Entry, answers: u64, now: Timestamp) {
        entry.attempted = now.micros();
        let bell = self.ring.try_clone();
        let begun =
            bell.and_then(|bell| Fetching::begin(entry.origin.clone(), now, Some((entry.validators.clone(), bell))));
        match begun {
            Ok(fetching) => entry.fetching = Some(Underway { fetching, answers, overdue: false }),
            Err(error) => self.failed(id, entry, format!("No thread could be started: {error}."), now),
        }
    }

    /// Takes in the result of a fetch that is done.
    fn harvest(&self, id: SlotId, entry: &mut Entry, now: Timestamp) {
        let deadline = entry.deadline();
        let Some(underway) = &mut entry.fetching else { return };
        let (answers, reported) = (underway.answers, underway.overdue);
        let result = match underway.fetching.progress() {
            Progress::UnderWay if now >= deadline && !reported => {
                underway.overdue = true;
                Err("The fetch did not end in time.".into())
            }
            Progress::UnderWay => return,
            Progress::Done(ended) => {
                entry.fetching = None;
                ended.result
            }
        };
        match result {
            Err(_) if reported => return,
            Err(error) => self.failed(id, entry, error, now),
            Ok(outcome) => self.succeeded(id, entry, outcome, now),
        }
        count(&counters().fetches);
        self.shared.answer(id, answers);
    }

    fn succeeded(&self, id: SlotId, entry: &mut Entry, outcome: Outcome, now: Timestamp) {
        let (keys, max_age, news) = match outcome {
            Outcome::Unchanged(max_age) => (entry.cached.keys(), max_age, None),
            Outcome::Fetched(Fetched { keys, document, max_age, validators }) => {
                for skipped in keys.skipped() {
                    debug1!("pg_jwks: a key of {} is not used: {}", entry.origin.location, skipped.why);
                }
                (Some(Arc::new(keys)), max_age, Some((document, validators)))
            }
        };
        let document = match &news {
            Some((document, _)) => Some(document.clone()),
            None => self.shared.state(id, 0).and_then(|(_, document)| document),
        };
        let (Some(keys), Some(document)) = (keys, document) else { return };
        // Keys are as old as the request for them.
        let fetched = Timestamp::from_micros(entry.attempted);
        let mut cached = entry.cached.clone();
        cached.fetched(keys, max_age, fetched, &entry.origin.limits());
        let Some(life) = cached.life(&entry.origin.limits()) else { return };
        let stored = Stored { document, fetched: fetched.micros(), life: life.micros() };
        match self.shared.publish(id, &stored.document, stored.fetched, stored.life) {
            Published::Gone => return,
            Published::TooLarge => {
                let error = "The keys do not fit in shared memory; raise pg_jwks.shared_cache_size.";
                return self.failed(id, entry, error.into(), now);
            }
            Published::Yes => entry.cached = cached,
        }
        if let Some((_, validators)) = news {
            entry.validators = validators;
        }
        if let Err(error) = disk::store(&entry.origin, &stored) {
            warning!("pg_jwks: the keys of {} could not be stored: {error}", entry.origin.location);
        }
        self.note(id, entry, now);
    }

    fn failed(&self, id: SlotId, entry: &mut Entry, error: String, now: Timestamp) {
        count(&counters().fetch_failures);
        log!("pg_jwks: keys could not be had from {}: {error}", entry.origin.location);
        entry.cached.failed(error, now);
        self.note(id, entry, now);
    }

    fn note(&self, id: SlotId, entry: &Entry, now: Timestamp) {
        let error = entry.cached.last_error().unwrap_or_default();
        self.shared.note(id, entry.attempted, entry.due(now).micros(), entry.quiet_until, error);
    }
}

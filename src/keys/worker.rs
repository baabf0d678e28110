//! The background worker `pg_jwks keys`: all the network I/O of the cluster.

use std::collections::HashMap;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use pg_jwks_core::freshness::CachedKeys;
use pg_jwks_core::jwks::KeySet;
use pg_jwks_core::time::{Span, Timestamp};
use pgrx::bgworkers::{BackgroundWorker, BackgroundWorkerBuilder, BgWorkerStartTime, SignalWakeFlags};
use pgrx::pg_sys;
use pgrx::prelude::*;

use super::cluster::trust;
use super::disk::{self, Stored};
use super::fetch::{Outcome, Validators};
use super::location::{Location, Origin};
use super::shared::{Request, Shared, shared};
use super::wait::{Fetching, Progress};
use crate::statistics::{count, counters};
use crate::{clock, settings};

/// Seconds after which the postmaster starts the worker again when it ended.
const RESTART: Duration = Duration::from_secs(1);

/// The longest sleep: a bound on what a lost wake-up can cost.
const NAP: Span = Span::from_seconds(60);

/// An origin that no backend has used for this long, and that the server's own settings do not name, is left alone.
const IDLE: Span = Span::from_seconds(3600);

/// Registers the worker; called while the postmaster loads the library. It needs no database, so it runs on standbys
/// too.
pub fn register() {
    BackgroundWorkerBuilder::new("pg_jwks keys")
        .set_type("pg_jwks keys")
        .set_library("pg_jwks")
        .set_function("pg_jwks_keys_main")
        .set_start_time(BgWorkerStartTime::PostmasterStart)
        .enable_shmem_access(None)
        .set_restart_time(Some(RESTART))
        .load();
}

/// The worker's main function.
#[doc(hidden)]
#[unsafe(no_mangle)]
#[pg_guard]
pub extern "C-unwind" fn pg_jwks_keys_main(_argument: pg_sys::Datum) {
    BackgroundWorker::attach_signal_handlers(SignalWakeFlags::SIGHUP | SignalWakeFlags::SIGTERM);
    let (Some(shared), Ok((bell, ring))) = (shared(), UnixStream::pair()) else { return };
    // SAFETY: MyLatch is this process's latch in shared memory.
    shared.set_worker(unsafe { pg_sys::MyLatch });
    let mut worker = Worker { shared, ring, entries: HashMap::new(), configured: Vec::new(), settings_read: false };
    loop {
        if BackgroundWorker::sigterm_received() {
            shared.set_worker(std::ptr::null_mut());
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
        sleep(&bell, nap);
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

struct Entry {
    origin: Origin,
    descriptor: String,
    cached: CachedKeys,
    validators: Validators,
    attempted: i64,
    quiet_until: i64,
    /// The fetch under way, and the newest request that it answers.
    fetching: Option<(Fetching, u64)>,
}

impl Entry {
    /// When a fetch under way counts as failed.
    fn deadline(&self) -> Timestamp {
        let bound = i64::try_from(self.origin.fetch_timeout().as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(self.attempted.saturating_add(bound)) + Span::from_millis(250)
    }
}

struct Worker {
    shared: Shared,
    ring: UnixStream,
    entries: HashMap<usize, Entry>,
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
        self.entries.retain(|slot, entry| slots.iter().any(|(index, text)| index == slot && *text == entry.descriptor));
        let mut next = now + NAP;
        for (slot, descriptor) in slots {
            if !self.entries.contains_key(&slot)
                && let Some(entry) = self.opened(slot, descriptor, now)
            {
                self.entries.insert(slot, entry);
            }
            if let Some(mut entry) = self.entries.remove(&slot) {
                next = next.min(self.tend(slot, &mut entry, now));
                self.entries.insert(slot, entry);
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
        self.configured = usable.map(|location| Origin::new(location, &settings).descriptor()).collect();
        for descriptor in &self.configured {
            if self.shared.slot(descriptor, now.micros(), (now - IDLE).micros()).is_none() {
                warning!("pg_jwks: no slot of the shared key cache is free for {descriptor}");
            }
        }
    }

    /// Takes a slot over: from shared memory where an earlier worker left keys, or else from disk.
    fn opened(&self, slot: usize, descriptor: String, now: Timestamp) -> Option<Entry> {
        let origin = Origin::from_descriptor(&descriptor)?;
        let mut cached = CachedKeys::default();
        let state = self.shared.state(slot, &descriptor)?;
        let (serial, document) = self.shared.document(slot);
        if serial != 0 {
            if let Ok(keys) = KeySet::parse(&document, trust(&origin.location)) {
                cached.restored(Arc::new(keys), Timestamp::from_micros(state.fetched), Span::from_micros(state.life));
            }
        } else {
            match disk::load(&origin) {
                Ok(None) => {}
                Ok(Some(stored)) => self.restore(slot, &origin, &mut cached, stored, now),
                Err(problem) => log!("pg_jwks: {problem}"),
            }
        }
        let (attempted, quiet_until) = (state.attempted, state.quiet_until);
        Some(Entry {
            origin,
            descriptor,
            cached,
            validators: Validators::default(),
            attempted,
            quiet_until,
            fetching: None,
        })
    }

    fn restore(&self, slot: usize, origin: &Origin, cached: &mut CachedKeys, stored: Stored, now: Timestamp) {
        let fetched = Timestamp::from_micros(stored.fetched);
        let limit = origin.limits().max_stale.max(Span::from_micros(stored.life));
        if now >= fetched + limit || now < fetched {
            return;
        }
        if let Ok(keys) = KeySet::parse(&stored.document, trust(&origin.location))
            && self.shared.publish(slot, &stored.document, stored.fetched, stored.life)
        {
            log!("pg_jwks: using stored keys of {}, fetched {} ago", origin.location, now.since(fetched));
            cached.restored(Arc::new(keys), fetched, Span::from_micros(stored.life));
        }
    }

    /// Does what is due for one origin, and returns when something will be next.
    fn tend(&mut self, slot: usize, entry: &mut Entry, now: Timestamp) -> Timestamp {
        self.harvest(slot, entry, now);
        let limits = entry.origin.limits();
        let due = entry.cached.due(&limits);
        let request = self.shared.open_request(slot);
        if entry.fetching.is_none() {
            let wanted = request.as_ref().is_some_and(|request| wants_fetch(request, entry, now));
            let number = request.as_ref().map_or(0, |request| request.number);
            if wanted || (now >= due && self.in_use(slot, entry, now)) {
                self.begin(slot, entry, number, now);
            } else if number > 0 {
                self.shared.answer(slot, number);
            }
        }
        match entry.fetching {
            // The bell rings when it is done.
            Some(_) => entry.deadline(),
            None => due.max(now + Span::from_millis(10)),
        }
    }

    fn in_use(&self, slot: usize, entry: &Entry, now: Timestamp) -> bool {
        self.configured.contains(&entry.descriptor) || self.shared.last_used(slot) > (now - IDLE).micros()
    }

    fn begin(&self, slot: usize, entry: &mut Entry, number: u64, now: Timestamp) {
        entry.attempted = now.micros();
        let bell = self.ring.try_clone();
        let begun = bell.and_then(|bell| Fetching::begin(entry.origin.clone(), Some((entry.validators.clone(), bell))));
        match begun {
            Ok(fetching) => entry.fetching = Some((fetching, number)),
            Err(error) => {
                self.failed(slot, entry, format!("No thread could be started: {error}."), now);
                self.shared.answer(slot, number);
            }
        }
    }

    fn harvest(&self, slot: usize, entry: &mut Entry, now: Timestamp) {
        let deadline = entry.deadline();
        let Some((fetching, number)) = &mut entry.fetching else { return };
        let number = *number;
        let result = match fetching.progress() {
            Progress::Done(result) => result,
            // The thread has its own bounds; this one holds where a name server or a file system does not return.
            Progress::UnderWay if now >= deadline => Err("The fetch did not end in time.".into()),
            Progress::UnderWay => return,
        };
        entry.fetching = None;
        count(&counters().fetches);
        let limits = entry.origin.limits();
        match result {
            Err(error) => self.failed(slot, entry, error, now),
            Ok(Outcome::Unchanged(max_age)) => {
                let Some(keys) = entry.cached.keys() else { return };
                entry.cached.fetched(keys, max_age, now, &limits);
                let (_, document) = self.shared.document(slot);
                self.publish(slot, entry, document, now);
            }
            Ok(Outcome::Fetched(fetched)) => {
                for skipped in fetched.keys.skipped() {
                    debug1!("pg_jwks: a key of {} is not used: {}", entry.origin.location, skipped.why);
                }
                entry.validators = fetched.validators;
                let before = entry.cached.clone();
                entry.cached.fetched(Arc::new(fetched.keys), fetched.max_age, now, &limits);
                if !self.publish(slot, entry, fetched.document, now) {
                    entry.cached = before;
                    let error = "The keys do not fit in shared memory; raise pg_jwks.shared_cache_size.";
                    self.failed(slot, entry, error.into(), now);
                }
            }
        }
        self.shared.answer(slot, number);
    }

    fn publish(&self, slot: usize, entry: &mut Entry, document: Vec<u8>, now: Timestamp) -> bool {
        let Some(life) = entry.cached.life() else { return false };
        let stored = Stored { document, fetched: now.micros(), life: life.micros() };
        if !self.shared.publish(slot, &stored.document, stored.fetched, stored.life) {
            return false;
        }
        if let Err(error) = disk::store(&entry.origin, &stored) {
            warning!("pg_jwks: the keys of {} could not be stored: {error}", entry.origin.location);
        }
        self.note(slot, entry);
        true
    }

    fn failed(&self, slot: usize, entry: &mut Entry, error: String, now: Timestamp) {
        count(&counters().fetch_failures);
        log!("pg_jwks: keys could not be had from {}: {error}", entry.origin.location);
        entry.cached.failed(error, now);
        self.note(slot, entry);
    }

    fn note(&self, slot: usize, entry: &Entry) {
        let due = entry.cached.due(&entry.origin.limits()).micros();
        let error = entry.cached.last_error().unwrap_or_default();
        self.shared.note(slot, entry.attempted, due, entry.quiet_until, error);
    }
}

/// Whether a request is reason to fetch now.
fn wants_fetch(request: &Request, entry: &mut Entry, now: Timestamp) -> bool {
    let limits = entry.origin.limits();
    if request.now {
        return true;
    }
    if request.newer {
        let allowed = entry.cached.may_fetch_for_unknown_key(now, &limits);
        if allowed {
            entry.quiet_until = (now + limits.cooldown).micros();
        }
        return allowed;
    }
    now >= entry.cached.due(&limits)
}

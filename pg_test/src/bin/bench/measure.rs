//! Clocks, and medians of interleaved rounds.

use std::time::{Duration, Instant};
use std::{io, mem};

use postgres::Client;

/// A time, or a part of one too small for [`Duration`].
pub type Nanoseconds = f64;

/// Measures each case once a round, so that whatever else the machine does slows all of them alike, and returns the
/// median of each. One more round, the first, warms up and does not count.
pub fn medians<C, const N: usize>(
    rounds: usize,
    mut cases: [C; N],
    mut measure: impl FnMut(&mut C) -> Duration,
) -> [Nanoseconds; N] {
    let mut times = [const { Vec::new() }; N];
    for round in 0..=rounds {
        for (case, times) in cases.iter_mut().zip(&mut times) {
            let time = measure(case);
            if round > 0 {
                times.push(time.as_nanos() as Nanoseconds);
            }
        }
    }
    times.map(median)
}

/// How long `work` takes on the wall.
pub fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// The processor time that one process has used: unlike time on the wall, it does not grow while other processes have
/// the processors.
#[derive(Clone, Copy)]
pub struct ProcessorClock {
    process: i32,
    clock: libc::clockid_t,
}

impl ProcessorClock {
    /// The clock of this process.
    pub const OWN: Self = Self { process: 0, clock: libc::CLOCK_PROCESS_CPUTIME_ID };

    /// The clock of the server process that serves `client`.
    pub fn of(client: &mut Client) -> Self {
        let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).expect("a process id").get(0);
        let mut clock = 0;
        // SAFETY: the pointer is to a variable that outlives the call.
        let error = unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) };
        assert_eq!(error, 0, "the clock of process {pid}: {}", io::Error::from_raw_os_error(error));
        Self { process: pid, clock }
    }

    /// Lets this process and the clock's, which take turns, run on one processor: others can be slower or faster.
    pub fn share_processor(self) -> SharedProcessor {
        let former = affinity(0);
        // SAFETY: a set of processors is an array of bits, for which zeros are valid; the macro sets one of them.
        let first = unsafe {
            let mut set: libc::cpu_set_t = mem::zeroed();
            let first = (0..libc::CPU_SETSIZE.unsigned_abs() as usize).find(|cpu| libc::CPU_ISSET(*cpu, &former));
            libc::CPU_SET(first.unwrap_or_default(), &mut set);
            set
        };
        set_affinity(0, &first);
        set_affinity(self.process, &first);
        SharedProcessor { former }
    }

    /// How much of it `work` takes.
    pub fn time(self, work: impl FnOnce()) -> Duration {
        let start = self.now();
        work();
        self.now() - start
    }

    fn now(self) -> Duration {
        // SAFETY: a timespec is two integers, for which zeros are valid; the pointer to it is valid during the call.
        let (result, now) = unsafe {
            let mut now: libc::timespec = mem::zeroed();
            (libc::clock_gettime(self.clock, &raw mut now), now)
        };
        assert_eq!(result, 0, "a processor clock: {}", io::Error::last_os_error());
        Duration::new(now.tv_sec.cast_unsigned(), u32::try_from(now.tv_nsec).expect("less than a second"))
    }
}

/// While this lives, this process runs where [`ProcessorClock::share_processor`] says.
pub struct SharedProcessor {
    former: libc::cpu_set_t,
}

impl Drop for SharedProcessor {
    fn drop(&mut self) {
        set_affinity(0, &self.former);
    }
}

/// The processors on which a process may run; 0 is this one.
fn affinity(process: i32) -> libc::cpu_set_t {
    // SAFETY: a set of processors is an array of bits, for which zeros are valid; the pointer to it is valid.
    unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        assert_eq!(libc::sched_getaffinity(process, size_of_val(&set), &raw mut set), 0, "sched_getaffinity");
        set
    }
}

fn set_affinity(process: i32, set: &libc::cpu_set_t) {
    // SAFETY: the pointer is to a set that outlives the call.
    let result = unsafe { libc::sched_setaffinity(process, size_of_val(set), set) };
    assert_eq!(result, 0, "sched_setaffinity: {}", io::Error::last_os_error());
}

/// The middle one, or the mean of the two in the middle.
pub fn median(mut times: Vec<Nanoseconds>) -> Nanoseconds {
    times.sort_by(Nanoseconds::total_cmp);
    let middle = times.len() / 2;
    match times.len() % 2 {
        0 => (times[middle - 1] + times[middle]) / 2.0,
        _ => times[middle],
    }
}

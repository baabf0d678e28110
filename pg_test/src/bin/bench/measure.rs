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
pub struct ProcessorClock(libc::clockid_t);

impl ProcessorClock {
    /// The clock of this process.
    pub const OWN: Self = Self(libc::CLOCK_PROCESS_CPUTIME_ID);

    /// The clock of the server process that serves `client`.
    pub fn of(client: &mut Client) -> Self {
        let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).expect("a process id").get(0);
        let mut id = 0;
        // SAFETY: the pointer is to a variable that outlives the call.
        let error = unsafe { libc::clock_getcpuclockid(pid, &raw mut id) };
        assert_eq!(error, 0, "the clock of process {pid}: {}", io::Error::from_raw_os_error(error));
        Self(id)
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
            (libc::clock_gettime(self.0, &raw mut now), now)
        };
        assert_eq!(result, 0, "a processor clock: {}", io::Error::last_os_error());
        Duration::new(now.tv_sec.cast_unsigned(), u32::try_from(now.tv_nsec).expect("less than a second"))
    }
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

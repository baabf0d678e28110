//! Which step the walk takes next.

use super::random::Random;
use super::reference::Reference;
use super::step::{Failure, Pool, SUBS, Step};

/// The names of savepoints.
const NAMES: [char; 3] = ['a', 'b', 'c'];

/// Any step, but mostly one that can succeed and has an identity to change: without that, most would find the
/// transaction aborted, or nobody.
pub fn next_step(random: &mut Random, reference: &Reference) -> Step {
    let savepoints = reference.savepoints();
    let name = match savepoints.is_empty() || random.below(10) == 0 {
        true => random.choice(&NAMES),
        false => random.choice(&savepoints),
    };
    if reference.aborted() && random.below(2) == 0 {
        return if savepoints.is_empty() { Step::Rollback } else { Step::RollbackTo(name) };
    }
    let sub = random.choice(&SUBS);
    let local = random.below(2) == 0;
    if reference.identity() == Ok(None) && random.below(3) == 0 {
        return Step::Init { sub, local };
    }
    let failure = random.choice(&[Failure::Null, Failure::Malformed, Failure::Forged]);
    match random.below(100) {
        0..16 => Step::Read,
        16..21 => Step::Write,
        21..22 if random.below(2) == 0 => Step::ReadInWorkers,
        21..22 => Step::Read,
        22..31 => Step::Begin,
        31..35 => Step::Commit,
        35..38 => Step::Rollback,
        38..45 => Step::Savepoint(name),
        45..57 if savepoints.is_empty() && random.below(10) > 0 => Step::Savepoint(name),
        45..53 => Step::RollbackTo(name),
        53..57 => Step::Release(name),
        57..69 => Step::Init { sub, local },
        69..72 => Step::InitInBlock { sub, local },
        72..74 => Step::InitThenError { sub, local },
        74..76 => Step::InitThenCaughtError { sub, local },
        76..78 => Step::InitThenCommit { sub },
        78..83 => Step::Fail(failure),
        83..86 => Step::FailCaught(failure),
        86..88 => Step::InitThenFailCaught { sub, failure },
        88..90 => Step::Clear,
        90..91 => Step::Reset,
        91..92 => Step::ResetAll,
        92..93 => Step::SetEmpty,
        93..95 => Step::SetLocalEmpty,
        95..96 => Step::DiscardAll,
        96..97 => Step::PoolReset(random.choice(&Pool::ALL)),
        97..98 => Step::SetDefault,
        _ => Step::Forge,
    }
}

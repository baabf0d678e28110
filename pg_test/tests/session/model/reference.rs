//! What PostgreSQL's documentation says of a setting, and ours of an identity: a value for the session, perhaps one for
//! the transaction over it, snapshots of both that a rollback restores, and failures that end every identity before
//! them whatever is restored.

use std::cell::Cell;
use std::rc::Rc;

use super::step::{Pool, READ_ONLY, Step};

/// An identity, until a failure ends it in every snapshot at once.
#[derive(Clone)]
struct Granted {
    sub: &'static str,
    alive: Rc<Cell<bool>>,
}

#[derive(Clone, Default)]
struct Values {
    session: Option<Granted>,
    /// `Some(None)` is an empty value that hides the session's.
    local: Option<Option<Granted>>,
}

struct Savepoint {
    name: char,
    before: Values,
    read_only_before: bool,
}

struct Transaction {
    before: Values,
    savepoints: Vec<Savepoint>,
    aborted: bool,
    /// Nothing makes it writable again but a rollback to before, or the release of a savepoint since.
    read_only: bool,
}

/// The reference.
#[derive(Default)]
pub struct Reference {
    values: Values,
    transaction: Option<Transaction>,
    granted: Vec<Rc<Cell<bool>>>,
}

type Outcome = Result<(), &'static str>;

const ABORTED: &str = "25P02";
const NO_TRANSACTION: &str = "25P01";
const NO_SAVEPOINT: &str = "3B001";
const CANNOT_WRITE: &str = "25006";

impl Reference {
    /// Who the session says it is, or the SQLSTATE with which it refuses to say.
    pub fn identity(&self) -> Result<Option<&'static str>, &'static str> {
        if self.aborted() {
            return Err(ABORTED);
        }
        let granted = self.values.local.as_ref().unwrap_or(&self.values.session);
        Ok(granted.as_ref().filter(|granted| granted.alive.get()).map(|granted| granted.sub))
    }

    /// Whether a transaction is open in which nothing more can succeed.
    pub fn aborted(&self) -> bool {
        self.transaction.as_ref().is_some_and(|transaction| transaction.aborted)
    }

    /// The names of the savepoints, oldest first.
    pub fn savepoints(&self) -> Vec<char> {
        let transaction = self.transaction.as_ref();
        transaction.map_or_else(Vec::new, |transaction| transaction.savepoints.iter().map(|point| point.name).collect())
    }

    /// Does what the step does, and says with which SQLSTATE it fails.
    pub fn apply(&mut self, step: &Step) -> Outcome {
        if self.aborted()
            && !matches!(
                step,
                Step::Commit | Step::Rollback | Step::RollbackTo(_) | Step::PoolReset(Pool::Jdbc | Pool::SqlAlchemy)
            )
        {
            return Err(ABORTED);
        }
        if !matches!(step, Step::Rollback | Step::RollbackTo(_) | Step::PoolReset(Pool::Jdbc | Pool::SqlAlchemy)) {
            self.restrict();
        }
        let outcome = self.try_apply(step);
        if outcome.is_err()
            && let Some(transaction) = &mut self.transaction
        {
            transaction.aborted = true;
        }
        outcome
    }

    fn try_apply(&mut self, step: &Step) -> Outcome {
        match step {
            Step::Read | Step::ReadInWorkers => {}
            Step::Write if self.must_not_write() => return Err(CANNOT_WRITE),
            Step::Write => {}
            Step::Begin => {
                let before = self.values.clone();
                self.transaction.get_or_insert(Transaction {
                    before,
                    savepoints: Vec::new(),
                    aborted: false,
                    read_only: false,
                });
            }
            Step::Commit if self.aborted() => self.rollback(),
            Step::Commit => {
                self.transaction = None;
                self.values.local = None;
            }
            Step::Rollback | Step::PoolReset(Pool::Jdbc | Pool::SqlAlchemy) => self.rollback(),
            Step::Savepoint(name) => {
                let before = self.values.clone();
                let transaction = self.in_transaction()?;
                let read_only_before = transaction.read_only;
                transaction.savepoints.push(Savepoint { name: *name, before, read_only_before });
            }
            Step::RollbackTo(name) => {
                let at = self.savepoint(*name)?;
                let transaction = self.in_transaction()?;
                transaction.savepoints.truncate(at + 1);
                transaction.aborted = false;
                transaction.read_only = transaction.savepoints[at].read_only_before;
                let before = transaction.savepoints[at].before.clone();
                self.values = before;
            }
            Step::Release(name) => {
                let at = self.savepoint(*name)?;
                let transaction = self.in_transaction()?;
                transaction.read_only = transaction.savepoints[at].read_only_before;
                transaction.savepoints.truncate(at);
            }
            Step::Init { sub, local } => {
                self.init(sub, *local);
                self.restrict();
            }
            Step::InitInBlock { sub, local } => self.init(sub, *local),
            Step::InitThenError { .. } => return Err("22012"),
            Step::InitThenCaughtError { .. } => {}
            Step::InitThenCommit { sub } => {
                if self.transaction.is_some() {
                    return Err("2D000");
                }
                self.init(sub, false);
            }
            Step::Fail(failure) => {
                self.revoke();
                return Err(failure.sqlstate());
            }
            Step::FailCaught(_) | Step::InitThenFailCaught { .. } => self.revoke(),
            Step::Clear
            | Step::Reset
            | Step::ResetAll
            | Step::SetDefault
            | Step::SetEmpty
            | Step::PoolReset(Pool::Asyncpg | Pool::Npgsql) => self.values = Values::default(),
            Step::SetLocalEmpty => self.set_local(None),
            Step::DiscardAll | Step::PoolReset(Pool::PgBouncer) if self.transaction.is_some() => return Err("25001"),
            Step::DiscardAll | Step::PoolReset(Pool::PgBouncer) => self.values = Values::default(),
            Step::Forge => return Err("42501"),
        }
        Ok(())
    }

    /// A statement of an identity that must not write makes its transaction read-only.
    fn restrict(&mut self) {
        let restricts = self.identity() == Ok(Some(READ_ONLY));
        if let Some(transaction) = &mut self.transaction {
            transaction.read_only |= restricts;
        }
    }

    fn must_not_write(&self) -> bool {
        match &self.transaction {
            Some(transaction) => transaction.read_only,
            None => self.identity() == Ok(Some(READ_ONLY)),
        }
    }

    fn in_transaction(&mut self) -> Result<&mut Transaction, &'static str> {
        self.transaction.as_mut().ok_or(NO_TRANSACTION)
    }

    /// The newest savepoint of this name.
    fn savepoint(&mut self, name: char) -> Result<usize, &'static str> {
        let transaction = self.in_transaction()?;
        transaction.savepoints.iter().rposition(|savepoint| savepoint.name == name).ok_or(NO_SAVEPOINT)
    }

    fn rollback(&mut self) {
        if let Some(transaction) = self.transaction.take() {
            self.values = transaction.before;
        }
    }

    fn init(&mut self, sub: &'static str, local: bool) {
        let alive = Rc::new(Cell::new(true));
        self.granted.push(alive.clone());
        let granted = Some(Granted { sub, alive });
        match local {
            true => self.set_local(granted),
            false => self.values = Values { session: granted, local: None },
        }
    }

    /// Without a transaction it ends with its statement.
    fn set_local(&mut self, granted: Option<Granted>) {
        if self.transaction.is_some() {
            self.values.local = Some(granted);
        }
    }

    fn revoke(&mut self) {
        for alive in self.granted.drain(..) {
            alive.set(false);
        }
    }
}

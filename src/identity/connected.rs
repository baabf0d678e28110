//! Who is connected as whom: what each session publishes of its identity in shared memory, if the library is preloaded.

use std::cell::{Cell, RefCell};
use std::ffi::CStr;
use std::ptr;
use std::sync::atomic::AtomicU64;
use std::thread::sleep;
use std::time::Duration;

use pg_jwks_core::cache::published::{Look, Published};
use pg_jwks_core::digest::Digest;
use serde::{Deserialize, Serialize};

use super::origin::Origin;
use crate::pg::backend_local::BackendLocal;
use crate::pg::process::{self, process_number};
use crate::pg::shared_memory::{self, Area};

/// What a session publishes. All-zero memory has none.
type Slot = Published<AtomicU64, 256>;

const NAME: &CStr = c"pg_jwks sessions";

static SLOTS: BackendLocal<Cell<*const Slot>> = BackendLocal::new(Cell::new(ptr::null()));

/// The identity of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)] // Each field is the column of its name.
pub struct Connected {
    pub pid: i32,
    pub database: u32,
    pub issuer: Option<String>,
    pub subject: Option<String>,
    pub tenant: Option<String>,
    pub session: Option<String>,
    pub token_id: Option<String>,
    pub actor: Option<String>,
    pub origin: String,
    /// In PostgreSQL's microseconds.
    pub expires_at: i64,
    #[serde(skip)]
    pub put: Put,
}

/// When and how an identity was put in force: all that differs if the same token is presented again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // Each field is the column of its name.
pub struct Put {
    pub is_local: bool,
    /// In PostgreSQL's microseconds.
    pub since: i64,
}

/// By what a session knows that it would publish the same again: the token, the settings, and how it was presented.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// The token.
    pub token: Digest,
    /// [`crate::settings::generation`].
    pub settings: u64,
    /// How.
    pub origin: Origin,
}

/// What this session has published last.
struct Own {
    serial: u64,
    /// `None` if something was added that did not come from there.
    source: Option<Source>,
    connected: Connected,
    encoded: Vec<u8>,
}

static OWN: BackendLocal<RefCell<Option<Own>>> = BackendLocal::new(RefCell::new(None));

/// The serial of the identity that this session shows; 0 if it shows none.
static SHOWN: BackendLocal<Cell<u64>> = BackendLocal::new(Cell::new(0));

/// The memory.
pub const AREA: Area = Area { request, start };

fn size() -> usize {
    process::max_backends() * size_of::<Slot>()
}

fn request() {
    shared_memory::request(size());
}

fn start() {
    let slots = shared_memory::structure(NAME, size(), |slots| {
        // SAFETY: the memory has the size that was asked for, and nobody else uses it yet.
        unsafe { ptr::write_bytes(slots, 0, size()) };
    });
    SLOTS.set(slots.cast_const().cast());
}

/// All slots; `None` if the library is not preloaded.
fn slots() -> Option<&'static [Slot]> {
    let slots = SLOTS.get();
    // SAFETY: NULL, or the memory of `start`: so many slots, all of them atomic, mapped as long as this process lives.
    (!slots.is_null()).then(|| unsafe { std::slice::from_raw_parts(slots, process::max_backends()) })
}

fn own_slot() -> Option<&'static Slot> {
    slots()?.get(process_number()?)
}

/// Whether sessions publish their identities.
pub fn is_published() -> bool {
    slots().is_some()
}

/// Publishes the identity in force, which has this serial.
pub fn publish(serial: u64, source: Option<Source>, connected: Connected) {
    let Some(slot) = own_slot() else { return };
    if OWN.with_borrow(Option::is_none) {
        process::at_exit(withdraw);
    }
    let encoded = connected.encoded();
    slot.write(&encoded);
    SHOWN.set(serial);
    OWN.set(Some(Own { serial, source, connected, encoded }));
}

/// The same for an identity from the source of the last one; false if that is another.
pub fn publish_again(serial: u64, source: Source, put: Put) -> bool {
    OWN.with_borrow_mut(|own| {
        let (Some(own), Some(slot)) = (own.as_mut().filter(|own| own.source == Some(source)), own_slot()) else {
            return false;
        };
        own.serial = serial;
        own.connected.put = put;
        own.encoded[..Put::BYTES].copy_from_slice(&put.encoded());
        slot.write(&own.encoded);
        SHOWN.set(serial);
        true
    })
}

/// The identity in force has this tenant, as the membership table says.
pub fn note_tenant(serial: u64, tenant: &str) {
    OWN.with_borrow_mut(|own| {
        let is_new = |own: &&mut Own| own.serial == serial && own.connected.tenant.as_deref() != Some(tenant);
        let (Some(own), Some(slot)) = (own.as_mut().filter(is_new), own_slot()) else { return };
        own.connected.tenant = Some(tenant.into());
        own.source = None;
        own.encoded = own.connected.encoded();
        slot.write(&own.encoded);
    });
}

/// The identity of this serial is in force now, or none: what was published of another is taken back. Allocates nothing.
pub fn put_in_force(serial: Option<u64>) {
    if SHOWN.get() != 0 && serial != Some(SHOWN.get()) {
        withdraw();
    }
}

fn withdraw() {
    SHOWN.set(0);
    if let Some(slot) = own_slot() {
        slot.write(&[]);
    }
}

/// The identities of all sessions; `None` if the library is not preloaded.
pub fn connected() -> Option<Vec<Connected>> {
    Some(slots()?.iter().filter_map(read).collect())
}

/// Looks until the writer is done, which takes it less than a microsecond unless it is not running.
fn read(slot: &Slot) -> Option<Connected> {
    for attempt in 0..MOST_LOOKS {
        match slot.look() {
            Look::Text(text) => return Connected::decoded(&text),
            Look::Changing if attempt % 100 == 99 => sleep(Duration::from_millis(1)),
            Look::Changing => std::hint::spin_loop(),
        }
    }
    None
}

/// A writer that does not finish within so many looks, a tenth of a second, has been stopped.
const MOST_LOOKS: usize = 10_000;

impl Connected {
    /// As it is published. Texts are cut to what has room.
    fn encoded(&self) -> Vec<u8> {
        let room = size_of::<Slot>() - 2 * size_of::<AtomicU64>();
        let texts = [&self.issuer, &self.subject, &self.tenant, &self.session, &self.token_id, &self.actor];
        let is_short = texts.into_iter().flatten().all(|text| text.len() <= LONGEST_TEXT);
        let whole = if is_short { self.written() } else { self.cut(LONGEST_TEXT).written() };
        match whole.len() > room {
            true => self.cut(LONGEST_SURE_TEXT).written(),
            false => whole,
        }
    }

    fn written(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(size_of::<Slot>());
        bytes.extend(self.put.encoded());
        // Writing numbers and texts to memory does not fail.
        let _ = serde_json::to_writer(&mut bytes, self);
        bytes
    }

    fn cut(&self, characters: usize) -> Self {
        let cut = |text: &Option<String>| text.as_ref().map(|text| text.chars().take(characters).collect());
        Self {
            issuer: cut(&self.issuer),
            subject: cut(&self.subject),
            tenant: cut(&self.tenant),
            session: cut(&self.session),
            token_id: cut(&self.token_id),
            actor: cut(&self.actor),
            ..self.clone()
        }
    }

    fn decoded(text: &[u8]) -> Option<Self> {
        let (put, json) = text.split_first_chunk()?;
        Some(Self { put: Put::decoded(*put), ..serde_json::from_slice(json).ok()? })
    }
}

impl Put {
    const BYTES: usize = 9;

    fn encoded(self) -> [u8; Self::BYTES] {
        let mut bytes = [u8::from(self.is_local); Self::BYTES];
        bytes[1..].copy_from_slice(&self.since.to_le_bytes());
        bytes
    }

    fn decoded([is_local, since @ ..]: [u8; Self::BYTES]) -> Self {
        Self { is_local: is_local != 0, since: i64::from_le_bytes(since) }
    }
}

/// Characters of a text that are published, if all texts have room.
const LONGEST_TEXT: usize = 200;

/// So many have room in any case: six bytes each, as JSON writes control characters.
const LONGEST_SURE_TEXT: usize = 40;

const _: () = assert!(6 * 6 * LONGEST_SURE_TEXT + 410 < size_of::<Slot>());

//! Every limit of the core, with its reason.

/// Bytes of a compact token. Those of users in hundreds of groups have tens of KiB; PostgreSQL takes 65,535 bytes of a
/// password.
pub const MAX_TOKEN_BYTES: usize = 64 * 1024;

/// Bytes of a JWKS, a PEM file or a discovery document. The largest public set in use (hundreds of keys with
/// certificate chains) stays below 100 KiB.
pub const MAX_DOCUMENT_BYTES: usize = 256 * 1024;

/// Keys of one set. A provider publishes a handful; the bound keeps the search for a `kid` short.
pub const MAX_KEYS: usize = 256;

/// Bytes of the text that names a source of keys in shared memory: a long URL and a long path.
pub const MAX_SOURCE_DESCRIPTOR_BYTES: usize = 2048;

/// Bytes that shared memory keeps of the reason why keys could not be had: a URL and a sentence.
pub const MAX_NOTED_ERROR_BYTES: usize = 512;

/// Bits of an RSA modulus, lower bound: RFC 7518 §3.3 and §3.5 demand 2048.
pub const MIN_RSA_BITS: usize = 2048;

/// Bits of an RSA modulus, upper bound: a larger one makes each verification a denial of service.
pub const MAX_RSA_BITS: usize = 8192;

/// Bytes of an `oct` key: RFC 7518 §3.2 demands a key as long as the hash, 32 bytes for HS256.
pub const MIN_OCT_BYTES: usize = 32;

/// Seconds since the epoch of the last moment of the year 9999, the largest time that RFC 3339 can write.
pub const MAX_NUMERIC_DATE: i64 = 253_402_300_799;

/// Seconds of clock skew that can be allowed (`pg_jwks.leeway`): more would keep expired tokens alive.
pub const MAX_LEEWAY_SECONDS: i64 = 300;

/// Seconds below which `Cache-Control: max-age` cannot push the life of a key set: a provider's `max-age=0` must
/// not turn each login into a fetch.
pub const MIN_KEY_LIFE_SECONDS: i64 = 60;

/// Signature checks by the keys of one set that are spent on one token. Keys that no `kid` tells apart are all tried:
/// those that share one (RFC 7517 §4.5 allows them), and those without, of which there are two or three while keys are
/// replaced. A set full of them must not multiply the work.
pub const MAX_CANDIDATE_KEYS: usize = 8;

/// Providers of one server, if each of its customers has one. The bound keeps checking the setting short.
pub const MAX_PROVIDERS: usize = 4096;

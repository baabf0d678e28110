//! Where keys come from, how long they serve, and what happens when they cannot be had.

mod cached_tokens;
mod changed_settings;
mod faults;
mod fetching;
mod files;
mod held_keys;
mod hostile_servers;
mod inline;
mod interrupts;
mod leaks;
mod odd_servers;

mod providers;
mod proxy;
mod refresh;
mod rotation;
mod shutdown;
mod sources;
mod tls;
mod waiting;

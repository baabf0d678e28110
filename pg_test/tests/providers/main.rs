//! Every provider's tokens and keys: those of documents made after the providers' documentation, and those of providers
//! that run here.

mod documented;
mod world;

mod real;
mod walk;

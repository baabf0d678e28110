//! The whole-application examples of `rls_examples/`, as their users run them.

mod http;
mod self_signed_api;
mod service;

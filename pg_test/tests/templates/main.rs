//! The policy templates of `rls_examples/`: each is run as its README says, and then attacked.

mod access;
mod attacks;
mod matrix;
mod server;
mod specs;

mod grants;
mod isolation;
mod mutants;
mod owner;
mod particulars;
mod plans;
mod running;

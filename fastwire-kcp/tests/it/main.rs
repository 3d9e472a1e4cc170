//! What the crate promises, tested from outside.

mod crypt;
mod traces;

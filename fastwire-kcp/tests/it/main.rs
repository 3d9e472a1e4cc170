//! What the crate promises, tested from outside.

mod crypt;
mod fec;
mod listener;
mod sessions;
mod traces;

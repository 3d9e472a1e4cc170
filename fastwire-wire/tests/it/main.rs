//! Tests of the codec from outside: golden vectors and laws that hold for every value and every input.
#![allow(clippy::unwrap_used)]

mod extended;
mod extended_vectors;
mod properties;
mod vectors;

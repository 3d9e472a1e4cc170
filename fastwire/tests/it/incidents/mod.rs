//! One test for each public incident of this kind of software that could happen here too. The table in
//! docs/assurance.md names them; each file holds one family.

mod accounting;
mod crypto;
mod lifecycle;
mod memory;
mod packets;
mod peer;

//! Laws of the extended handshake, without connections.

mod agreement;
mod attacks;
mod losers;
mod refusals;
mod repeats;
mod vectors;
mod world;

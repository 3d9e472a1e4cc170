//! Laws of the extended channels that need a look inside.

//! The field GF(2^8) with the polynomial x^8 + x^4 + x^3 + x^2 + 1 (0x11d), through its logarithms.

/// The polynomial that reduces a product, without its x^8.
pub(crate) const POLYNOMIAL: u8 = 0x1d;

/// Twice the powers of 2, so that the sum of two logarithms needs no reduction.
const EXP: [u8; 510] = exp_table();
/// `LOG[0]` has no meaning.
const LOG: [u8; 256] = log_table();

/// `2 · a`.
const fn double(a: u8) -> u8 {
    (a << 1) ^ (if a & 0x80 != 0 { POLYNOMIAL } else { 0 })
}

#[allow(clippy::indexing_slicing, reason = "in a constant: the compiler checks")]
const fn exp_table() -> [u8; 510] {
    let mut table = [0; 510];
    let (mut power, mut i) = (1, 0);
    while i < 510 {
        table[i] = power;
        power = double(power);
        i += 1;
    }
    table
}

#[allow(clippy::indexing_slicing, reason = "in a constant: the compiler checks")]
const fn log_table() -> [u8; 256] {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 255 {
        table[EXP[i] as usize] = i as u8;
        i += 1;
    }
    table
}

/// The logarithm of a non-zero element, in 0..255.
#[allow(clippy::indexing_slicing, reason = "a byte is below 256")]
pub(crate) fn log(a: u8) -> u32 {
    debug_assert_ne!(a, 0, "zero has no logarithm");
    u32::from(LOG[usize::from(a)])
}

/// The element whose logarithm is `log`, any number.
#[allow(clippy::indexing_slicing, reason = "a remainder of 255 is below 510")]
pub(crate) fn exp(log: u32) -> u8 {
    EXP[(log % 255) as usize]
}

#[cfg(test)]
pub(crate) fn mul(a: u8, b: u8) -> u8 {
    if a == 0 || b == 0 { 0 } else { exp(log(a) + log(b)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Multiplication as the definition has it: carry-less, then reduced bit by bit.
    fn mul_by_definition(mut a: u8, b: u8) -> u8 {
        let mut product = 0;
        for bit in 0..8 {
            if b >> bit & 1 == 1 {
                product ^= a;
            }
            a = double(a);
        }
        product
    }

    #[test]
    fn tables_agree_with_the_definition() {
        for a in 0..=255 {
            for b in 0..=255 {
                assert_eq!(mul(a, b), mul_by_definition(a, b), "{a} · {b}");
            }
        }
    }
}

//! Message numbers: 32 bits on the wire, counted on in 64.

/// The number nearest to `near` whose low 32 bits are `low` (serial arithmetic, RFC 1982); 0, which no message has,
/// for what lies before the beginning.
pub(crate) fn expand(low: u32, near: u64) -> u64 {
    let distance = low.wrapping_sub(near as u32) as i32;
    near.checked_add_signed(i64::from(distance)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_near_is_found(near in prop_oneof![0u64..1 << 34, any::<u64>()], distance in -(1i64 << 31)..1 << 31) {
            prop_assume!(near <= u64::MAX - (1 << 32));
            let Some(number) = near.checked_add_signed(distance) else { return Ok(()) };
            prop_assert_eq!(expand(number as u32, near), number);
        }
    }

    #[test]
    fn what_lies_before_the_beginning_is_no_number() {
        assert_eq!(expand(u32::MAX, 3), 0);
    }
}

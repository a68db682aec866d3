//! Asks for memory ahead of its use.
//!
//! Rows come in an order that has little to do with that of their keys, so what is held for a row's key is seldom in the
//! caches. A loop that asks for what the next rows need does not wait for it, and works on the rows before meanwhile.

/// Asks for an item, so that it is at hand soon. Does nothing where there is none, and on processors for which the
/// standard library has no such instruction.
#[inline(always)]
pub(crate) fn prefetch<T>(items: &[T], at: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if let Some(item) = items.get(at) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the instruction may be given any address: it changes nothing that the program can see, and does not
        // fault.
        #[allow(unsafe_code)]
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(item).cast());
        }
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = (items, at);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_need_be_no_such_item() {
        let items = [1_u64, 2, 3];
        for at in [0, 2, 3, usize::MAX] {
            prefetch(&items, at);
        }
        prefetch::<u64>(&[], 0);
        assert_eq!(items, [1, 2, 3]);
    }
}

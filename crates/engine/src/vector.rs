//! Loops for the vector instructions that a processor has, beyond those that every processor of its kind has.
//!
//! The compiler turns a loop over plain numbers into vector instructions by itself, if it may take these for granted. So
//! such a loop is compiled a few times, and which one runs is decided on the machine.

/// A loop over numbers. What it calls must be `#[inline(always)]` to be compiled with it.
pub(crate) trait Loop {
    type Output;

    /// `#[inline(always)]` as well.
    fn run(self) -> Self::Output;
}

/// Runs a loop by the widest instructions that the processor has.
#[cfg(all(target_arch = "x86_64", not(miri)))]
pub(crate) fn widest<L: Loop>(work: L) -> L::Output {
    match (has_avx2(), has_avx512()) {
        // SAFETY: the processor has all instructions that the function is compiled for.
        #[allow(unsafe_code)]
        (true, true) => unsafe { by_avx512(work) },
        // SAFETY: as above.
        #[allow(unsafe_code)]
        (true, false) => unsafe { by_avx2(work) },
        _ => work.run(),
    }
}

/// By what processors have since about 2017 (servers) and 2022.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,fma,f16c")]
fn by_avx512<L: Loop>(work: L) -> L::Output {
    work.run()
}

/// By what processors have since about 2013.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt")]
fn by_avx2<L: Loop>(work: L) -> L::Output {
    work.run()
}

#[cfg(all(target_arch = "x86_64", not(miri)))]
fn has_avx2() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("lzcnt")
}

/// Whether there is what [`by_avx512`] needs beside that of [`by_avx2`].
#[cfg(all(target_arch = "x86_64", not(miri)))]
fn has_avx512() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512cd")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c")
}

/// On other processors all have the same.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
pub(crate) fn widest<L: Loop>(work: L) -> L::Output {
    work.run()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Squares<'a>(&'a mut [u64]);

    impl Loop for Squares<'_> {
        type Output = u64;

        #[inline(always)]
        fn run(self) -> u64 {
            for number in &mut *self.0 {
                *number = *number * *number + 1;
            }
            self.0.iter().sum()
        }
    }

    #[test]
    fn all_ways_to_run_a_loop_do_the_same() {
        let numbers: Vec<u64> = (0..1_003).collect();
        let mut plain = numbers.clone();
        let sum = Squares(&mut plain).run();
        let assert_same = |run: &dyn Fn(Squares<'_>) -> u64| {
            let mut own = numbers.clone();
            assert_eq!(run(Squares(&mut own)), sum);
            assert_eq!(own, plain);
        };
        assert_same(&|squares| widest(squares));
        // Few processors run both of these by themselves.
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        if has_avx2() {
            // SAFETY: the processor has the instructions.
            #[allow(unsafe_code)]
            assert_same(&|squares| unsafe { by_avx2(squares) });
        }
    }
}

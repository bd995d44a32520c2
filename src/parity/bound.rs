//! What a sample proves: the 95 % bound of Clopper and Pearson, one-sided, on the share of matches.
//!
//! C. J. Clopper and E. S. Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial",
//! Biometrika 26 (1934). With n verified and none at fault the bound is 0.05^(1/n): 2 995 without a fault show
//! that fewer than 0.1 % are at fault, 2 994 do not.

/// The share of wrong conclusions that is accepted.
const ERROR: f64 = 0.05;

/// Above so many faults Wilson's interval is taken instead: it differs from the exact one in the fourth digit of the share of
/// faults, and costs nothing.
const MANY: u64 = 20_000;

/// The normal distribution's quantile for [`ERROR`].
const Z: f64 = 1.644_853_626_951_472_7;

/// The greatest share of matches that is exceeded with 95 % confidence after `faults` among `verified`; `None` for none
/// verified: nothing proves nothing.
#[must_use]
#[expect(
    clippy::cast_precision_loss,
    reason = "a share of 1e16 entries is as good in f64"
)]
pub fn lower_bound(verified: u64, faults: u64) -> Option<f64> {
    if verified == 0 {
        return None;
    }
    if faults >= verified {
        return Some(0.0);
    }
    let n = verified as f64;
    if faults == 0 {
        return Some((ERROR.ln() / n).exp());
    }
    if faults > MANY {
        return Some(1.0 - wilson(faults as f64 / n, n));
    }
    // The fault share p at which `faults` or fewer would come about with probability ERROR; bisection on a monotone function.
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..200 {
        let middle = f64::midpoint(low, high);
        if probability_of_at_most(faults, n, middle) > ERROR {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(1.0 - high)
}

fn wilson(share: f64, n: f64) -> f64 {
    let square = Z * Z / n;
    let spread = (share * (1.0 - share) / n + square / (4.0 * n)).sqrt() * Z;
    ((share + square / 2.0 + spread) / (1.0 + square)).min(1.0)
}

/// Of a binomial with n trials: summed from its greatest term downward, in logarithms, so that nothing under- or overflows.
#[expect(clippy::cast_precision_loss, reason = "as above")]
fn probability_of_at_most(faults: u64, n: f64, p: f64) -> f64 {
    if p <= 0.0 {
        return 1.0;
    }
    if p >= 1.0 {
        return 0.0;
    }
    let odds = (p / (1.0 - p)).ln();
    let mut term = n * (-p).ln_1p();
    let mut sum = LogSum(term);
    for k in 1..=faults {
        let k = k as f64;
        term += ((n - k + 1.0) / k).ln() + odds;
        sum.add(term);
    }
    sum.0.exp().min(1.0)
}

/// A sum kept as its logarithm.
struct LogSum(f64);

impl LogSum {
    fn add(&mut self, log: f64) {
        let (great, small) = if self.0 > log {
            (self.0, log)
        } else {
            (log, self.0)
        };
        self.0 = great + (small - great).exp().ln_1p();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_thousand_nine_hundred_and_ninety_five_without_a_fault_show_a_thousandth() {
        assert!(lower_bound(2_995, 0).is_some_and(|bound| bound > 0.999));
        assert!(lower_bound(2_994, 0).is_some_and(|bound| bound < 0.999));
    }

    #[test]
    fn nothing_proves_nothing_and_all_wrong_proves_nothing_good() {
        assert_eq!(lower_bound(0, 0), None);
        assert_eq!(lower_bound(5, 5), Some(0.0));
    }

    #[test]
    fn known_values() {
        // One-sided 95 % limits for 1 of 10, 5 of 100 and 3 of 10 000, from the beta quantiles.
        for (verified, faults, share) in [
            (10, 1, 0.394_163),
            (100, 5, 0.102_253),
            (10_000, 3, 0.000_775_2),
        ] {
            let bound = lower_bound(verified, faults).expect("some were verified");
            assert!(
                (1.0 - bound - share).abs() / share < 1e-3,
                "{faults} of {verified}: {}",
                1.0 - bound
            );
        }
    }

    #[test]
    fn the_two_ways_meet() {
        let exact = lower_bound(1_000_000, MANY).expect("verified");
        let share = 0.02;
        assert!((1.0 - exact - wilson(share, 1e6)).abs() / share < 1e-3);
    }

    #[test]
    fn more_faults_never_prove_more() {
        let bounds: Vec<f64> = (0..50)
            .filter_map(|faults| lower_bound(1_000, faults))
            .collect();
        assert!(bounds.is_sorted_by(|a, b| a > b), "{bounds:?}");
    }
}

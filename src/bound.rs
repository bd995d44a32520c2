//! What a sample proves: the 95 % bounds of Clopper and Pearson, one-sided, on the share of matches and of faults.
//!
//! C. J. Clopper and E. S. Pearson, "The use of confidence or fiducial limits illustrated in the case of the binomial",
//! Biometrika 26 (1934). With n verified and none at fault the bound is 0.05^(1/n): 2 995 without a fault show
//! that fewer than 0.1 % are at fault, 2 994 do not.

/// The share of wrong conclusions that is accepted.
const ERROR: f64 = 0.05;

/// Where so many are at fault and so many are not, Wilson's interval is taken instead: it differs from the exact one in the
/// fourth digit of the share of faults, and costs nothing.
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
    if faults.min(verified - faults) > MANY {
        return Some(1.0 - wilson(faults as f64 / n, n));
    }
    // The fault share p at which `faults` or fewer would come about with probability ERROR; bisection on a monotone function.
    // Up to the share that was found they are as likely as not: a binomial's median is not above the next whole number.
    let (mut low, mut high) = (faults as f64 / n, 1.0);
    loop {
        let middle = f64::midpoint(low, high);
        if middle <= low || middle >= high {
            return Some(1.0 - high);
        }
        if probability_of_at_most(faults, verified, middle) > ERROR {
            low = middle;
        } else {
            high = middle;
        }
    }
}

/// Between which shares the faults lie, each limit with 95 % confidence by itself; `None` for no sample.
#[must_use]
pub fn share_of_faults(total: u64, faults: u64) -> Option<(f64, f64)> {
    let faults = faults.min(total);
    // At least so many are at fault as would be at most good, were good and bad exchanged.
    let least = lower_bound(total, total - faults)?;
    let most = 1.0 - lower_bound(total, faults)?;
    Some((least, most))
}

/// How many samples would show that less than `share` is at fault, should no more than these `faults` be met; `None` where
/// reckoning it would take long, and for a share that no sample proves.
#[must_use]
pub fn samples_needed(share: f64, faults: u64) -> Option<u64> {
    const EASY: u64 = 50;
    if faults > EASY || share <= 0.0 || share >= 1.0 {
        return None;
    }
    let shows = |total| lower_bound(total, faults).is_some_and(|matches| 1.0 - matches < share);
    let (mut least, mut most) = (faults, faults + 1);
    while !shows(most) {
        least = most;
        most = most.checked_mul(2)?;
    }
    while most - least > 1 {
        let middle = u64::midpoint(least, most);
        if shows(middle) {
            most = middle;
        } else {
            least = middle;
        }
    }
    Some(most)
}

fn wilson(share: f64, n: f64) -> f64 {
    let square = Z * Z / n;
    let spread = (share * (1.0 - share) / n + square / (4.0 * n)).sqrt() * Z;
    ((share + square / 2.0 + spread) / (1.0 + square)).min(1.0)
}

/// Of a binomial with n trials, for a `p` above `faults / n`: summed from its greatest term downward until a term adds nothing.
/// They fall away within some standard deviations, so that a sample of thousands takes hundreds of them at most.
#[expect(clippy::cast_precision_loss, reason = "as above")]
fn probability_of_at_most(faults: u64, n: u64, p: f64) -> f64 {
    let odds = (1.0 - p) / p;
    let mut term = probability_of(faults, n, p);
    let mut sum = term;
    let mut k = faults;
    while k > 0 && term > sum * f64::EPSILON {
        term *= k as f64 / (n - k + 1) as f64 * odds;
        sum += term;
        k -= 1;
    }
    sum.min(1.0)
}

/// Of exactly so many faults. C. Loader, "Fast and accurate computation of binomial probabilities" (2000): what is great in the
/// factorials cancels before it is reckoned, so that nothing under- or overflows and no digits are lost.
#[expect(clippy::cast_precision_loss, reason = "as above")]
fn probability_of(faults: u64, n: u64, p: f64) -> f64 {
    let (x, rest, n) = (faults as f64, (n - faults) as f64, n as f64);
    let log = stirling_error(n)
        - stirling_error(x)
        - stirling_error(rest)
        - deviance(x, n * p)
        - deviance(rest, n * (1.0 - p));
    let scale = n / (std::f64::consts::TAU * x * rest);
    log.exp() * scale.sqrt()
}

/// ln n! less Stirling's formula for it.
fn stirling_error(n: f64) -> f64 {
    const SMALL: f64 = 16.0;
    if n < SMALL {
        let mut factorial = 1.0_f64;
        let mut k = 2.0;
        while k <= n {
            factorial *= k;
            k += 1.0;
        }
        let stirling = (n + 0.5) * n.ln() - n + 0.5 * std::f64::consts::TAU.ln();
        return factorial.ln() - stirling;
    }
    let square = n * n;
    (1.0 / 12.0 - (1.0 / 360.0 - (1.0 / 1_260.0 - 1.0 / 1_680.0 / square) / square) / square) / n
}

/// x ln(x / mean) + mean - x, also where both are nearly the same.
fn deviance(x: f64, mean: f64) -> f64 {
    let (difference, both) = (x - mean, x + mean);
    if difference.abs() >= 0.1 * both {
        return x * (x / mean).ln() + mean - x;
    }
    let v = difference / both;
    let mut sum = difference * v;
    let mut power = 2.0 * x * v;
    let mut odd = 3.0;
    loop {
        power *= v * v;
        let next = sum + power / odd;
        if next.to_bits() == sum.to_bits() {
            return sum;
        }
        sum = next;
        odd += 2.0;
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

    /// By exact fractions, sixty digits wide.
    #[test]
    fn large_and_lopsided_samples_have_their_exact_limits() {
        for (verified, faults, share) in [
            (10, 1, 0.394_163_302_436_505),
            (100, 95, 0.980_094_436_337_828),
            (10_000, 3, 0.000_775_181_379_010_1),
            (20_000, 10_000, 0.505_840_163_735_673),
            (20_000, 19_999, 0.999_997_435_338_569),
            (1_000_000, 500, 0.000_538_366_163_317_948),
            (1_000_000, 999_995, 0.999_998_029_848_432),
        ] {
            let most = 1.0 - lower_bound(verified, faults).expect("some were verified");
            assert!(
                (most - share).abs() < share * 1e-12,
                "{faults} of {verified}: {most}"
            );
        }
    }

    /// All terms, in logarithms: slow and plain.
    fn summed(faults: u64, n: u64, p: f64) -> f64 {
        let number = |k: u64| f64::from(u32::try_from(k).expect("small"));
        let mut log = number(n) * (-p).ln_1p();
        let mut sum = log.exp();
        for k in 1..=faults {
            log += (number(n - k + 1) / number(k)).ln() + (p / (1.0 - p)).ln();
            sum += log.exp();
        }
        sum
    }

    #[test]
    fn a_few_terms_are_as_good_as_all() {
        for n in [2, 3, 17, 100, 600] {
            for faults in (1..n).step_by(7) {
                let most = 1.0 - lower_bound(n, faults).expect("verified");
                let probability = summed(faults, n, most);
                assert!(
                    (probability - ERROR).abs() < 1e-9,
                    "{faults} of {n}: {probability}"
                );
            }
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

    #[test]
    fn faults_lie_between_their_limits() {
        // One-sided 95 % limits for 5 of 100, from the beta quantiles.
        let (least, most) = share_of_faults(100, 5).expect("a sample");
        assert!((least - 0.019_910).abs() < 1e-5, "{least}");
        assert!((most - 0.102_253).abs() < 1e-5, "{most}");
        assert_eq!(share_of_faults(0, 0), None);
        assert_eq!(share_of_faults(4, 4).map(|(_, most)| most), Some(1.0));
        assert_eq!(share_of_faults(4, 0).map(|(least, _)| least), Some(0.0));
    }

    #[test]
    fn what_is_needed_is_just_enough() {
        assert_eq!(samples_needed(0.001, 0), Some(2_995));
        for faults in [1, 7, 50] {
            let needed = samples_needed(0.01, faults).expect("reckoned");
            let most = |total| share_of_faults(total, faults).expect("a sample").1;
            assert!(most(needed) < 0.01 && most(needed - 1) >= 0.01, "{faults}");
        }
        assert_eq!(samples_needed(0.0, 0), None);
        assert_eq!(samples_needed(0.01, 51), None);
    }
}
